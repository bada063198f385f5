"""Which device this is, how much of something large it takes at a time, and how plain numbers reach it.

================  ========================  ====================
question          CPU                       every other device
================  ========================  ====================
:func:`is_host`   True                      False
:func:`parts`     32 MiB, memory is reused  256 MiB, few kernels
large results     stay                      go to the CPU
================  ========================  ====================
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

# float32 values of one temporary while a part of something large is computed. The CPU reuses memory of this size; more
# is asked from the system, and cleared by it, every time.
HOST_VALUES, DEVICE_VALUES = 2**23, 2**26
# Bytes of a result that may stay on a device.
RESULT_BYTES = 2**30


def is_host(tensor: Tensor) -> bool:
    """Whether a tensor lies in the memory of the CPU."""
    return tensor.device.type == 'cpu'


def parts(num_rows: int, width: int, like: Tensor) -> list[slice]:
    """Cut rows into parts of about the same size, so that what is computed of one stays small.

    Args:
        num_rows (int): Number of rows; 0 gives one empty part. A compiler or exporter sees one part.
        width (int): float32 values of the largest temporary, for each row.
        like (Tensor): Any tensor of the device.

    Returns:
        list[slice]: The parts, at least one row each.
    """
    if is_traced():
        return [slice(0, num_rows)]
    most = max(1, (HOST_VALUES if is_host(like) else DEVICE_VALUES) // max(1, width))
    num_parts = max(1, -(-num_rows // most))
    step = max(1, -(-num_rows // num_parts))
    return [slice(start, min(start + step, num_rows)) for start in range(0, max(1, num_rows), step)]


def without_autocast(like: Tensor) -> AbstractContextManager:
    """What is computed inside keeps its precision, on devices that have autocast and on those that have none."""
    try:
        return torch.autocast(like.device.type, enabled=False)
    except RuntimeError:
        return nullcontext()


def place_of_result(num_bytes: int, like: Tensor) -> torch.device:
    """Where a result of this size goes: to the device of ``like``, or to the CPU where it would fill that."""
    return like.device if num_bytes <= RESULT_BYTES else torch.device('cpu')


def from_host(values, like: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor of plain numbers on the device of ``like``, without waiting for the device.

    ``Tensor.new_tensor`` and ``torch.tensor(..., device=...)`` wait until the copy is done.
    """
    if torch.jit.is_tracing():
        return _stacked(values, dtype).to(like.device)  # sizes are tensors then, and stay variable in the exported file
    return torch.tensor(values, dtype=dtype).to(like.device, non_blocking=True)


def _stacked(values, dtype: torch.dtype) -> Tensor:
    """A tensor of nested sequences of numbers and tensors without dimensions."""
    if isinstance(values, (list, tuple)):
        return torch.stack([_stacked(value, dtype) for value in values])
    return torch.as_tensor(values, dtype=dtype)


# torch 2.1 has it under its own name only.
_is_compiling = getattr(torch.compiler, 'is_compiling', None) or torch._utils.is_compiling


def is_traced() -> bool:
    """Whether a compiler or an exporter watches: it records operations and cannot look into hand-written gradients."""
    return torch.jit.is_tracing() or _is_compiling()
