"""Mask loss in sampled points."""

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class PointBCELoss(nn.Module):
    """Binary cross-entropy in points: mmdet's ``CrossEntropyLoss(use_sigmoid=True)`` without its search for points to
    ignore, which doubles the passes over the points.

    Args:
        loss_weight (float): Weight of the loss.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, masks: Tensor, reduction_override: str = 'mean') -> Tensor:
        """Loss of each point, or reduced.

        Args:
            logits (Tensor): (num_masks, num_points).
            masks (Tensor): (num_masks, num_points) true values in [0, 1].
            reduction_override (str): ``none``, ``mean`` or ``sum``, under mmdet's name.

        Returns:
            Tensor: (num_masks, num_points), or () if reduced.
        """
        return self.loss_weight * F.binary_cross_entropy_with_logits(logits, masks, reduction=reduction_override)
