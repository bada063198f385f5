"""AdamW in one call per step where torch has it."""

from collections.abc import Iterable
from typing import Any

import torch
from mmengine.registry import OPTIMIZERS
from mmengine.utils import digit_version


@OPTIMIZERS.register_module()  # of mmengine, so that mmdet and mmseg find it
class FusedAdamW(torch.optim.AdamW):
    """AdamW, fused on the GPU and, from torch 2.4 on, on the CPU; elsewhere the plain one.

    A plain step makes about six calls per parameter, on a small model a sixth of the training time on a CPU.

    Args:
        params (Iterable): Parameters or parameter groups.
        kwargs: The arguments of :class:`torch.optim.AdamW`, but ``fused`` and ``foreach``.
    """

    def __init__(self, params: Iterable, **kwargs: Any) -> None:
        params = list(params)
        tensors = (p for group in params for p in (group['params'] if isinstance(group, dict) else [group]))
        on_gpu = all(p.is_cuda for p in tensors)
        super().__init__(params, fused=on_gpu or digit_version(torch.__version__) >= digit_version('2.4'), **kwargs)
