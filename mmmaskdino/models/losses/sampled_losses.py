"""Losses of masks in the points where each mask is most uncertain, with little memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmmaskdino.models.utils.points import PointFeatures, PointLogits
from mmmaskdino.ops.device import parts

from .mask_losses import PointLoss
from .point_sampler import PointSampler


class MaskTask(NamedTuple):
    """What the masks of an image are compared with, where, and how."""

    features: PointFeatures
    """Mask features in all drawn points."""
    masks: Tensor
    """(num_gts, points) true masks there."""
    objects: Tensor
    """(num_masks,) int64 object of each predicted mask."""
    sampler: PointSampler
    """Chooses the points of each mask."""
    losses: Mapping[str, PointLoss]
    """By name."""

    def parts(self) -> list[slice]:
        """Ranges of masks whose logits in all points are few enough to be computed together."""
        return parts(len(self.objects), 2 * self.masks.shape[1], self.masks)

    def wanted(self) -> Callable[[slice, Tensor], Tensor]:
        """Looks up the truth of some masks in their chosen points, (n, num_points) both."""
        first = self.objects[:, None] * self.masks.shape[1]
        return lambda part, index: self.masks.take(first[part] + index)


def sampled_mask_losses(mask_embeds: Tensor, task: MaskTask) -> dict[str, Tensor]:
    """Losses per mask.

    The logits in all drawn points, of which a mask keeps a few, are many more numbers than everything else that
    training stores. Here only the chosen points and logits are kept, and the losses give their own gradients, part by
    part.

    Args:
        mask_embeds (Tensor): (num_masks, mask_dims).
        task (MaskTask): The rest.

    Returns:
        dict[str, Tensor]: By the names of ``task.losses``, (num_masks,) float32.
    """
    with torch.autocast(mask_embeds.device.type, enabled=False):
        values = _SampledLosses.apply(mask_embeds.float(), task.features.features, task)
    return dict(zip(task.losses, values, strict=True))


class _SampledLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mask_embeds: Tensor, table: Tensor, task: MaskTask) -> tuple[Tensor, ...]:
        values, kept, wanted = [], None, task.wanted()
        for part in task.parts():
            logits = task.features.logits(mask_embeds[part]).contiguous()  # by mask: that is how points are chosen
            index = task.sampler.select(logits)
            if kept is None:  # in one piece each: small ones between large temporaries would split the memory up
                shape = (len(mask_embeds), index.shape[1])
                kept = logits.new_empty(shape), index.new_empty(shape, dtype=_narrow_type(logits.shape[1]))
            logits = torch.gather(logits, 1, index, out=kept[0][part])
            kept[1][part] = index
            chosen, masks = PointLogits(logits), wanted(part, index)
            values.append([loss(chosen, masks) for loss in task.losses.values()])
        ctx.task = task
        ctx.save_for_backward(mask_embeds, table, *kept)
        return tuple(torch.cat(of_loss) for of_loss in zip(*values, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        mask_embeds, table, all_logits, all_index = ctx.saved_tensors
        wanted, spread = ctx.task.wanted(), ctx.task.features.spreader()
        grad_embeds, grad_table = torch.empty_like(mask_embeds), torch.zeros_like(table)
        columns = table.T
        for part in ctx.task.parts():
            chosen, index = PointLogits(all_logits[part]), _widened(all_index[part])
            masks = wanted(part, index)
            first, *others = (
                loss.gradient(chosen, masks, grad[part])
                for loss, grad in zip(ctx.task.losses.values(), grads, strict=True)
            )
            for other in others:
                first += other
            grad = spread(first, index)
            torch.mm(grad, columns, out=grad_embeds[part])
            grad_table.addmm_(mask_embeds[part].T, grad)
        return grad_embeds, grad_table, None


def _narrow_type(num_points: int) -> torch.dtype:
    """In which the points of all masks, up to that many, are kept."""
    return torch.int16 if num_points <= 2**16 else torch.int32


def _widened(index: Tensor) -> Tensor:
    """int64 indices from those; what exceeds int16 was kept as a negative number."""
    return index.long().bitwise_and_(0xFFFF) if index.dtype == torch.int16 else index.long()
