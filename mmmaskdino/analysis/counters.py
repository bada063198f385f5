"""Counting what a GPU would be asked to do, without a GPU: operations, and the places where the host would wait."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.weak import WeakIdKeyDictionary

# Operations whose result, or whose result's size, the host reads.
READS = {'_local_scalar_dense', 'nonzero', 'masked_select', '_unique2', 'unique_dim', 'unique_consecutive', 'bincount'}


class OperationCounter:
    """Counts while it is entered; it can be entered again and goes on counting.

    A model on the CPU is seen as if it were on a GPU: a scalar that is read, a size that depends on values and a copy
    by ``Tensor.cpu`` are waits, unless all they depend on was copied to the host before. Copies by ``Tensor.to`` are
    not seen. Gradients count as well; what an operation calls inside does not.

    Attributes:
        operations (Counter): Dispatched ATen operations by name.
        waits (Counter): Those of them, and copies, for which the host would wait.
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
        """Whether all tensors, at least one, were copied to the host or come from some that were."""
        return bool(tensors) and all(tensor in self._on_host for tensor in tensors)

    def mark_on_host(self, result: Any) -> None:
        """Remember the tensors of a result."""
        for tensor in _tensors(result):
            self._on_host[tensor] = True


class _Operations(TorchDispatchMode):
    def __init__(self, counter: OperationCounter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        self.counter.operations[name] += 1
        on_host = self.counter.is_on_host(_tensors((args, kwargs)))
        if _waits(func, name, args) and not on_host:
            self.counter.waits[name] += 1
        # Not func itself: older versions of torch hand a number to the overload for tensors.
        result = func.overloadpacket(*args, **kwargs)
        if on_host:
            self.counter.mark_on_host(result)
        return result


class _Copies(TorchFunctionMode):
    def __init__(self, counter: OperationCounter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is not Tensor.cpu or self.counter.is_on_host([args[0]]):
            return func(*args, **(kwargs or {}))
        self.counter.waits['cpu'] += 1
        # A tensor of its own, as on a GPU, where the copy and the original differ.
        copy = args[0].detach().clone()
        self.counter.mark_on_host(copy)
        return copy


def _waits(func: Any, name: str, args: tuple) -> bool:
    if name in ('index', 'index_put', 'index_put_'):
        return any(tensor.dtype in (torch.bool, torch.uint8) for tensor in _tensors(args[1]))
    if name == 'repeat_interleave':
        return func is torch.ops.aten.repeat_interleave.Tensor
    return name in READS


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]
