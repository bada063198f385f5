"""What differs between the host and a device."""

from functools import lru_cache

import torch
from torch import Tensor


def from_host(values, like: Tensor) -> Tensor:
    """A float32 tensor of plain numbers on the device of ``like``, without waiting for the device.

    ``Tensor.new_tensor`` and ``torch.tensor(..., device=...)`` wait until the copy is done.
    """
    if torch.jit.is_tracing():
        return _stacked(values).to(like.device)  # sizes are tensors then, and stay variable in the exported file
    return torch.tensor(values, dtype=torch.float32).to(like.device, non_blocking=True)


def _stacked(values) -> Tensor:
    """A tensor of nested sequences of numbers and tensors without dimensions."""
    if isinstance(values, (list, tuple)):
        return torch.stack([_stacked(value) for value in values])
    return torch.as_tensor(values, dtype=torch.float32)


@lru_cache(maxsize=128)
@torch.inference_mode(False)
def counting(start: int, stop: int, step: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``torch.arange``, made once: the sizes of a training step repeat. Not to be changed in place."""
    return torch.arange(start, stop, step, dtype=dtype, device=device)


def chunk_elements(device: torch.device) -> int:
    """Elements of one large temporary tensor of float32: what is computed in parts stays below.

    On the host, memory up to 32 MiB is reused; more is asked from the system, and cleared by it, every time. A device
    wants few, large parts: 256 MiB.
    """
    return 2**23 if device.type == 'cpu' else 2**26


# torch 2.1 has it under its own name only.
_is_compiling = getattr(torch.compiler, 'is_compiling', None) or torch._utils.is_compiling


def is_traced() -> bool:
    """Whether a compiler or an exporter watches: it records operations and cannot look into hand-written gradients."""
    return torch.jit.is_tracing() or _is_compiling()
