"""Counting what a GPU would be asked to do, without a GPU: operations, and the places where the CPU would wait."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.weak import WeakIdKeyDictionary

# Operations whose result, or whose result's size, the CPU reads.
READS = {'_local_scalar_dense', 'nonzero', 'masked_select', '_unique2', 'unique_dim', 'unique_consecutive', 'bincount'}


class OperationCounter:
    """Counts while it is entered; it can be entered again and goes on counting.

    A model on the CPU is seen as if it were on a GPU. Tensors that are made without naming a device, or on ``'cpu'``,
    lie on the CPU, all others on the GPU (and, since it cannot be seen, what ``torch.from_numpy`` makes). Waits are: a
    scalar that is read, a size that depends on values and a copy by ``Tensor.cpu``, unless all they depend on is on the
    host; ``Tensor.new_tensor`` and ``torch.tensor(..., device=...)``; and copies from the CPU to the GPU, by
    ``Tensor.to``, ``Tensor.copy_`` or as an index, unless they are ``non_blocking``. Gradients count as well; what an
    operation calls inside does not.

    Attributes:
        operations (Counter): Dispatched ATen operations by name.
        waits (Counter): Those of them, and copies, for which the CPU would wait.
    """

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self._on_host = WeakIdKeyDictionary()

    def __enter__(self) -> OperationCounter:
        self._modes = [_Copies(self), _Operations(self)]
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)

    def is_on_host(self, tensors: list[Tensor]) -> bool:
        """Whether all tensors, at least one, were copied to the CPU or come from some that were."""
        return bool(tensors) and all(tensor in self._on_host for tensor in tensors)

    def mark_on_host(self, result: Any) -> None:
        """Remember the tensors of a result."""
        for tensor in _tensors(result):
            self._on_host[tensor] = True

    def mark_on_device(self, result: Tensor) -> None:
        """Remember that a tensor was copied to the GPU."""
        self._on_host.pop(result, None)


class _Operations(TorchDispatchMode):
    def __init__(self, counter: OperationCounter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        self.counter.operations[name] += 1
        on_host = self.counter.is_on_host(_tensors((args, kwargs)))
        if not on_host and (_waits(func, name, args) or self._copies_from_host(name, args)):
            self.counter.waits[name] += 1
        # Not func itself: older versions of torch hand a number to the overload for tensors.
        result = func.overloadpacket(*args, **kwargs)
        if on_host:
            self.counter.mark_on_host(result)
        return result

    def _copies_from_host(self, name: str, args: tuple) -> bool:
        if name == 'copy_':
            return self.counter.is_on_host([args[1]]) and not (len(args) > 2 and args[2])
        if name in ('index', 'index_put', 'index_put_'):
            return any(self.counter.is_on_host([index]) for index in _tensors(args[1]))
        return False


class _Copies(TorchFunctionMode):
    def __init__(self, counter: OperationCounter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        counter, tensors = self.counter, _tensors((args, kwargs))
        if func is Tensor.cpu and not counter.is_on_host([args[0]]):
            counter.waits['cpu'] += 1
            # A tensor of its own, as on a GPU, where the copy and the original differ.
            copy = args[0].detach().clone()
            counter.mark_on_host(copy)
            return copy
        if func is Tensor.to and counter.is_on_host([args[0]]) and _names_device(args[1:], kwargs):
            counter.waits['to'] += not (kwargs.get('non_blocking') or any(value is True for value in args[1:]))
            copy = func(args[0], *args[1:], **kwargs).clone()
            counter.mark_on_device(copy)
            return copy
        if func is Tensor.new_tensor or (func in (torch.tensor, torch.as_tensor) and not _on_host(kwargs)):
            counter.waits[func.__name__] += not tensors or func is Tensor.new_tensor
        result = func(*args, **kwargs)
        if not tensors and _on_host(kwargs):
            counter.mark_on_host(result)
        return result


def _on_host(kwargs: dict) -> bool:
    """Whether a tensor is made on the CPU: the model's device is a ``torch.device``, the word stands for the CPU."""
    return kwargs.get('device') in (None, 'cpu')


def _names_device(args: tuple, kwargs: dict) -> bool:
    """Whether the arguments of ``Tensor.to`` say where to, beside or instead of a type."""
    named = [*args[:1], kwargs.get('device'), kwargs.get('other')]
    return any(isinstance(value, torch.device | str | Tensor) for value in named)


def _waits(func: Any, name: str, args: tuple) -> bool:
    if name in ('index', 'index_put', 'index_put_'):
        return any(tensor.dtype in (torch.bool, torch.uint8) for tensor in _tensors(args[1]))
    if name == 'repeat_interleave':
        return func is torch.ops.aten.repeat_interleave.Tensor
    return name in READS


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]
