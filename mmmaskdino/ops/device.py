"""Which device this is, how much of something large it takes at a time, and how plain numbers reach it.

=================  ==========================  =======================
question           CPU                         every other device
=================  ==========================  =======================
:func:`is_host`    True                        False
:func:`parts`      32 MiB, memory is reused  256 MiB, few launches
=================  ==========================  =======================
"""

from functools import lru_cache

import torch
from torch import Tensor

# float32 values that are alive together while one part of something large is computed. The CPU reuses memory of this
# size; more is asked from the system, and cleared by it, every time.
HOST_VALUES, DEVICE_VALUES = 2**23, 2**26


def is_host(tensor: Tensor) -> bool:
    """Whether a tensor lies in the memory of the CPU."""
    return tensor.device.type == 'cpu'


def parts(num_rows: int, width: int, like: Tensor) -> list[slice]:
    """Cut rows into parts of about the same size, so that what is computed of one stays small.

    Args:
        num_rows (int): Number of rows; 0 gives one empty part.
        width (int): float32 values that are alive together for each row.
        like (Tensor): Any tensor of the device.

    Returns:
        list[slice]: The parts, at least one row each.
    """
    most = max(1, (HOST_VALUES if is_host(like) else DEVICE_VALUES) // max(1, width))
    num_parts = max(1, -(-num_rows // most))
    step = max(1, -(-num_rows // num_parts))
    return [slice(start, min(start + step, num_rows)) for start in range(0, max(1, num_rows), step)]


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


# torch 2.1 has it under its own name only.
_is_compiling = getattr(torch.compiler, 'is_compiling', None) or torch._utils.is_compiling


def is_traced() -> bool:
    """Whether a compiler or an exporter watches: it records operations and cannot look into hand-written gradients."""
    return torch.jit.is_tracing() or _is_compiling()
