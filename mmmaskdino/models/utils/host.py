"""Numbers of the host on the device."""

import torch
from torch import Tensor


def from_host(values, like: Tensor) -> Tensor:
    """A float32 tensor of plain numbers on the device of ``like``, without waiting for the device.

    ``Tensor.new_tensor`` and ``torch.tensor(..., device=...)`` wait until the copy is done.
    """
    return torch.tensor(values, dtype=torch.float32).to(like.device, non_blocking=True)
