"""The losses of masks: binary cross-entropy and dice in sampled points (paper, section 3.3; PointRend, Mask2Former)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmmaskdino.ops.device import parts, without_autocast
from mmmaskdino.ops.mask_losses_host import BCE, Dice, host_mask_losses, runs_on
from mmmaskdino.ops.points import PointFeatures

from .point_sampler import PointSampler


@MODELS.register_module()
class PointBCELoss(nn.Module):
    """Binary cross-entropy, the mean over the points of a mask.

    Args:
        loss_weight (float): Weight of the loss.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, masks: Tensor, **kwargs) -> Tensor:
        """Losses (num_masks,) of logits and true values in [0, 1], (num_masks, num_points) both."""
        return (F.softplus(logits) - logits * masks).mean(1) * self.loss_weight


@MODELS.register_module()
class PointDiceLoss(nn.Module):
    """Dice distance of a mask's probabilities in the points: mmdet's with ``naive_dice``.

    Args:
        loss_weight (float): Weight of the loss.
        eps (float): Added to numerator and denominator.
    """

    def __init__(self, loss_weight: float = 1.0, eps: float = 1.0) -> None:
        super().__init__()
        self.loss_weight, self.eps = loss_weight, eps

    def forward(self, logits: Tensor, masks: Tensor, **kwargs) -> Tensor:
        """Losses (num_masks,) of logits and true values in [0, 1], (num_masks, num_points) both."""
        probabilities = logits.sigmoid()
        overlap = 2 * (probabilities * masks).sum(1)
        size = probabilities.sum(1) + masks.sum(1)
        return (1 - (overlap + self.eps) / (size + self.eps)) * self.loss_weight


def plain_mask_losses(
    embeds: Tensor,
    features: PointFeatures,
    truth: Tensor,
    sampler: PointSampler,
    losses: Mapping[str, nn.Module],
    first: Tensor | None = None,
) -> dict[str, Tensor]:
    """The method: what a mask predicts, in the points where it is least certain, against what is there.

    Args:
        embeds (Tensor): (num_masks, mask_dims).
        features (PointFeatures): Mask features in all drawn points.
        truth (Tensor): (num_masks, points) true masks there.
        sampler (PointSampler): Chooses the points of each mask.
        losses (Mapping[str, nn.Module]): Called with logits and true values (num_masks, num_points) and
            ``reduction_override='none'``, as mmdet's are; they return losses per mask, or per point.
        first (Tensor | None): (num_masks, points) bool, of :meth:`PointSampler.select`.

    Returns:
        dict[str, Tensor]: By name, (num_masks,).
    """
    logits = features.logits(embeds)
    index = sampler.select(logits.detach(), first)  # the most uncertain points and some random ones
    logits, truth = logits.gather(1, index), truth.gather(1, index)
    found = {name: loss(logits, truth, reduction_override='none') for name, loss in losses.items()}
    return {name: values.mean(1) if values.dim() == 2 else values for name, values in found.items()}


def mask_losses(
    embeds: Tensor,
    features: PointFeatures,
    masks: Tensor,
    objects: Tensor,
    sampler: PointSampler,
    losses: Mapping[str, nn.Module],
    first: Tensor | None = None,
) -> dict[str, Tensor]:
    """:func:`plain_mask_losses` of the masks of an image, some at a time.

    All drawn points of all masks are many more numbers than everything else that a training step stores. So the
    backward pass computes them again. On a CPU, the two losses of the paper have a faster twin.

    Args:
        embeds (Tensor): (num_masks, mask_dims).
        features (PointFeatures): Mask features in all drawn points.
        masks (Tensor): (num_gts, points) true masks there.
        objects (Tensor): (num_masks,) int64 object of each mask.
        sampler (PointSampler): As above.
        losses (Mapping[str, nn.Module]): As above.
        first (Tensor | None): (num_gts, points) bool, points that an object's masks look at first.

    Returns:
        dict[str, Tensor]: By name, (num_masks,).
    """
    with without_autocast(embeds):
        embeds = embeds.float()
        twins = {name: TWINS[type(loss)](loss) for name, loss in losses.items() if type(loss) in TWINS}
        if runs_on(embeds) and len(twins) == len(losses):
            return host_mask_losses(embeds, features, masks, objects, sampler.select, twins, first)

        def some_losses(embeds: Tensor, objects: Tensor) -> dict[str, Tensor]:
            of_objects = None if first is None else first[objects]
            return plain_mask_losses(embeds, features, masks[objects], sampler, losses, of_objects)

        found = []
        for part in parts(len(embeds), masks.shape[1], embeds):
            found.append(checkpoint(some_losses, embeds[part], objects[part], use_reentrant=False))
    return {name: torch.cat([values[name] for values in found]) for name in losses}


TWINS = {
    PointBCELoss: lambda loss: BCE(loss.loss_weight),
    PointDiceLoss: lambda loss: Dice(loss.loss_weight, loss.eps),
}
