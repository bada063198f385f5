"""Cross-entropy and dice of masks in their most uncertain points, on a CPU: the twin of ``plain_mask_losses``.

==================  ====================================================================================
device              implementation
==================  ====================================================================================
CPU                 this: gradients by formulas that share what both losses need; only the chosen points are kept
every other device  the plain lines of :mod:`mmmaskdino.models.losses.mask_losses`
==================  ====================================================================================

It takes about half of their time on a CPU, where sorting and exponentials are slow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .device import is_host, parts
from .points import PointFeatures


def runs_on(tensor: Tensor) -> bool:
    """Whether it is for the device of a tensor."""
    return is_host(tensor)


# Float32 holds the sigmoid down to here in full precision, and the softplus is 0 long before.
LOWEST_LOGIT = -80.0


class PointLogits:
    """Mask logits in points, and what both losses make of them: computed when asked for, once; without autograd.

    Args:
        logits (Tensor): (num_masks, num_points) float32.
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    @cached_property
    def probabilities(self) -> Tensor:
        """(num_masks, num_points) in (0, 1]."""
        return self._floored.sigmoid()

    def softplus(self) -> Tensor:
        """(num_masks, num_points) ``log(1 + exp(logits))``, from the probabilities, which are needed anyway.

        It is ``x - log(sigmoid(x))``, and 0 where the sigmoid of ``x`` would underflow.
        """
        logarithms = self.probabilities.log()
        return torch.sub(self._floored, logarithms, out=logarithms)

    @cached_property
    def _floored(self) -> Tensor:
        return self.logits.clamp(min=LOWEST_LOGIT)


class BCE(NamedTuple):
    """Binary cross-entropy, the mean over the points of a mask."""

    weight: float

    def value(self, points: PointLogits, masks: Tensor) -> Tensor:
        """Losses (num_masks,) for true values (num_masks, num_points)."""
        return torch.addcmul(points.softplus(), points.logits, masks, value=-1).mean(-1) * self.weight

    def gradient(self, points: PointLogits, masks: Tensor, grads: Tensor) -> Tensor:
        """(num_masks, num_points) gradient with respect to the logits, from that (num_masks,) of the losses."""
        return (points.probabilities - masks).mul_((grads * (self.weight / masks.shape[1]))[:, None])


class Dice(NamedTuple):
    """Dice distance of a mask's probabilities; methods as of :class:`BCE`."""

    weight: float
    eps: float

    def value(self, points: PointLogits, masks: Tensor) -> Tensor:
        overlap, size = self._ratio(points, masks)
        return (1 - overlap / size) * self.weight

    def gradient(self, points: PointLogits, masks: Tensor, grads: Tensor) -> Tensor:
        overlap, size = self._ratio(points, masks)
        scale = grads * self.weight / size
        of_probabilities = torch.addcmul((scale * overlap / size)[:, None], scale[:, None], masks, value=-2)
        return torch.ops.aten.sigmoid_backward(of_probabilities, points.probabilities)

    def _ratio(self, points: PointLogits, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Numerator and denominator (num_masks,)."""
        overlap = (points.probabilities * masks).sum(-1)
        size = points.probabilities.sum(-1) + masks.sum(-1)
        return 2 * overlap + self.eps, size + self.eps


class MaskTask(NamedTuple):
    """What the masks of an image are compared with, where, and how."""

    features: PointFeatures
    """Mask features in all drawn points."""
    masks: Tensor
    """(num_gts, points) true masks there."""
    objects: Tensor
    """(num_masks,) int64 object of each predicted mask."""
    select: Callable[..., Tensor]
    """Chooses the points of masks from logits (n, points) and, of ``first``, their rows: (n, num_points) int64."""
    losses: Mapping[str, BCE | Dice]
    """By name."""
    first: Tensor | None = None
    """(num_gts, points) bool, points that an object's masks look at first; None: all are alike."""

    def chosen_points(self, part: slice, logits: Tensor) -> Tensor:
        """Points (n, num_points) int64 of some masks, from their logits (n, points)."""
        return self.select(logits, None if self.first is None else self.first[self.objects[part]])

    def parts(self) -> list[slice]:
        """Ranges of masks whose logits in all points are few enough to be computed together."""
        return parts(len(self.objects), self.masks.shape[1], self.masks)

    def wanted(self) -> Callable[[slice, Tensor], Tensor]:
        """Looks up the truth of some masks in their chosen points, (n, num_points) both."""
        first = self.objects[:, None] * self.masks.shape[1]
        return lambda part, index: self.masks.take(first[part] + index)


def host_mask_losses(
    embeds: Tensor,
    features: PointFeatures,
    masks: Tensor,
    objects: Tensor,
    select: Callable[..., Tensor],
    losses: Mapping[str, BCE | Dice],
    first: Tensor | None = None,
) -> dict[str, Tensor]:
    """Losses per mask.

    Args:
        embeds (Tensor): (num_masks, mask_dims) float32.
        features (PointFeatures): Mask features in all drawn points.
        masks (Tensor): (num_gts, points) true masks there.
        objects (Tensor): (num_masks,) int64 object of each mask.
        select (Callable): Chooses the points of masks from logits (n, points) and, of ``first``, their rows:
            (n, num_points) int64.
        losses (Mapping): By name.
        first (Tensor | None): (num_gts, points) bool, points that an object's masks look at first.

    Returns:
        dict[str, Tensor]: By name, (num_masks,) float32.
    """
    task = MaskTask(features, masks, objects, select, losses, first)
    return dict(zip(losses, _SampledLosses.apply(embeds, features.features, task), strict=True))


class _SampledLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mask_embeds: Tensor, table: Tensor, task: MaskTask) -> tuple[Tensor, ...]:
        values, kept, wanted = [], None, task.wanted()
        for part in task.parts():
            logits = task.features.logits(mask_embeds[part]).contiguous()  # by mask: that is how points are chosen
            index = task.chosen_points(part, logits)
            if kept is None:  # in one piece each: small ones between large temporaries would split the memory up
                shape = (len(mask_embeds), index.shape[1])
                kept = logits.new_empty(shape), index.new_empty(shape, dtype=_narrow_type(logits.shape[1]))
            logits = torch.gather(logits, 1, index, out=kept[0][part])
            kept[1][part] = index
            chosen, masks = PointLogits(logits), wanted(part, index)
            values.append([loss.value(chosen, masks) for loss in task.losses.values()])
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
