"""Losses of masks in sampled points, with gradients of their own: what both need is computed once."""

from __future__ import annotations

from typing import Protocol

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmmaskdino.models.utils.points import PointLogits


class PointLoss(Protocol):
    """A loss per mask."""

    def __call__(self, points: PointLogits, masks: Tensor) -> Tensor:
        """Losses.

        Args:
            points (PointLogits): (num_masks, num_points) logits.
            masks (Tensor): (num_masks, num_points) true values in [0, 1].

        Returns:
            Tensor: (num_masks,).
        """

    def gradient(self, points: PointLogits, masks: Tensor, grads: Tensor) -> Tensor:
        """Gradient with respect to the logits.

        Args:
            points (PointLogits): As in the call.
            masks (Tensor): As in the call.
            grads (Tensor): (num_masks,) gradient with respect to the losses.

        Returns:
            Tensor: (num_masks, num_points).
        """


@MODELS.register_module()
class PointBCELoss(nn.Module):
    """Binary cross-entropy, the mean over the points of a mask (:class:`PointLoss`).

    Args:
        loss_weight (float): Weight of the loss.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, points: PointLogits, masks: Tensor) -> Tensor:
        per_point = torch.addcmul(points.softplus(), points.logits, masks, value=-1)
        return per_point.mean(-1) * self.loss_weight

    def gradient(self, points: PointLogits, masks: Tensor, grads: Tensor) -> Tensor:
        scale = grads * (self.loss_weight / masks.shape[1])
        return (points.probabilities - masks).mul_(scale[:, None])


@MODELS.register_module()
class PointDiceLoss(nn.Module):
    """Dice distance of a mask's probabilities in the points (:class:`PointLoss`): mmdet's with ``naive_dice``.

    Args:
        loss_weight (float): Weight of the loss.
        eps (float): Added to numerator and denominator.
    """

    def __init__(self, loss_weight: float = 1.0, eps: float = 1.0) -> None:
        super().__init__()
        self.loss_weight, self.eps = loss_weight, eps

    def forward(self, points: PointLogits, masks: Tensor) -> Tensor:
        overlap, size = self._ratio(points, masks)
        return (1 - overlap / size) * self.loss_weight

    def gradient(self, points: PointLogits, masks: Tensor, grads: Tensor) -> Tensor:
        overlap, size = self._ratio(points, masks)
        scale = grads * self.loss_weight / size
        of_probabilities = torch.addcmul((scale * overlap / size)[:, None], scale[:, None], masks, value=-2)
        return torch.ops.aten.sigmoid_backward(of_probabilities, points.probabilities)

    def _ratio(self, points: PointLogits, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Numerator and denominator (num_masks,)."""
        overlap = (points.probabilities * masks).sum(-1)
        size = points.probabilities.sum(-1) + masks.sum(-1)
        return 2 * overlap + self.eps, size + self.eps


class AutogradPointLoss:
    """Any loss with mmdet's interface as a :class:`PointLoss`; autograd finds its gradient.

    Args:
        loss (nn.Module): Called with logits and true values (num_masks, num_points) and ``reduction_override='none'``;
            returns losses per point, which are averaged, or per mask.
    """

    def __init__(self, loss: nn.Module) -> None:
        self.loss = loss

    def __call__(self, points: PointLogits, masks: Tensor) -> Tensor:
        return self._losses(points.logits, masks)

    def gradient(self, points: PointLogits, masks: Tensor, grads: Tensor) -> Tensor:
        logits = points.logits.detach().requires_grad_()
        with torch.enable_grad():
            losses = self._losses(logits, masks)
        return torch.autograd.grad(losses, logits, grads)[0]

    def _losses(self, logits: Tensor, masks: Tensor) -> Tensor:
        losses = self.loss(logits, masks, reduction_override='none')
        return losses.mean(-1) if losses.dim() == 2 else losses


def as_point_loss(loss: nn.Module) -> PointLoss:
    """The loss itself, or a wrapper of one with mmdet's interface."""
    return loss if hasattr(loss, 'gradient') else AutogradPointLoss(loss)
