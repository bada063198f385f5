"""Predictions for several views (scales, flips) of one image, seen in the frame of one of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmaskdino.models.seg_heads.image_queries import ImageFrames, ImageQueries
from mmmaskdino.ops.device import from_host

FLIPPED_AXES = {'horizontal': (1,), 'vertical': (0,), 'diagonal': (0, 1)}  # 0: rows, 1: columns


class View(NamedTuple):
    """What the model predicts for one augmented image."""

    queries: ImageQueries
    frames: ImageFrames
    flipped: tuple[int, ...]
    """Axes along which the image was flipped, 0 rows, 1 columns."""


class GridQueries(NamedTuple):
    """Queries whose masks are maps; the fusion head reads them like :class:`ImageQueries`."""

    cls_logits: Tensor
    """(n, cls_out_channels)."""
    boxes: Tensor
    """(n, 4) cxcywh in [0, 1] of the padded canvas."""
    masks: Tensor | None
    """(n, h, w) logits on the grid of the mask features; None without masks."""

    @property
    def mask_embeds(self) -> Tensor | None:
        """None without masks, as in :class:`ImageQueries`."""
        return self.masks

    def mask_logits(self, index: Tensor | slice) -> Tensor:
        """Masks of some queries: (n, h, w)."""
        return self.masks[index]


def flipped_axes(metainfo: Mapping) -> tuple[int, ...]:
    """Axes along which an image was flipped, from a data sample's metainfo.

    Raises:
        ValueError: If it does not say so: without that, a flipped prediction would be taken for an upright one.
    """
    if 'flip' not in metainfo:
        raise ValueError(
            f'metainfo of {metainfo.get("img_path", "an image")} lacks flip and flip_direction: add them to meta_keys '
            'of PackDetInputs or PackSegInputs in tta_pipeline'
        )
    return FLIPPED_AXES[metainfo['flip_direction']] if metainfo['flip'] else ()


def choose_reference(views: Sequence[View]) -> View:
    """The view whose frame the others are brought to: the largest, of several an upright one."""
    return max(views, key=lambda view: (view.frames.image[0] * view.frames.image[1], not view.flipped))


def masks_in(reference: View, view: View, index: Tensor | slice = slice(None)) -> Tensor:
    """Mask logits of some queries of a view, on the grid of the reference, upright: (n, h, w)."""
    masks = view.queries.mask_logits(index)
    if view is reference and not view.flipped:
        return masks
    shape = reference.queries.mask_features.shape[1:]
    rows, columns = (_positions(axis, shape[axis], reference, view).to(masks, non_blocking=True) for axis in (0, 1))
    grid = torch.stack([columns.expand(shape), rows[:, None].expand(shape)], -1)
    return F.grid_sample(masks[None], grid[None], padding_mode='border', align_corners=False)[0]


def _positions(axis: int, length: int, reference: View, view: View) -> Tensor:
    """Where the centres of the reference's grid cells lie in the view's canvas along an axis, in [-1, 1]: (length,)."""
    centers = (torch.arange(length) + 0.5) / length * reference.frames.canvas[axis]
    share = centers / reference.frames.image[axis]  # of the image, beyond 1 in the padding
    if axis in view.flipped:
        share = 1 - share
    return 2 * share * view.frames.image[axis] / view.frames.canvas[axis] - 1


def boxes_in(reference: View, view: View, index: Tensor | slice = slice(None)) -> Tensor:
    """Boxes (n, 4) of some queries of a view, cxcywh in [0, 1] of the reference's canvas, upright."""
    boxes = view.queries.boxes[index]
    if view is reference and not view.flipped:
        return boxes
    centers, sizes = boxes[:, :2], boxes[:, 2:]
    # Axes of the frames are (height, width), of boxes (x, y).
    of_view, of_reference = (
        from_host([c / i for c, i in zip(v.frames.canvas, v.frames.image, strict=True)], boxes).flip(0)
        for v in (view, reference)
    )
    centers, sizes = centers * of_view, sizes * of_view
    flipped = from_host([1 in view.flipped, 0 in view.flipped], boxes, torch.bool)
    centers = torch.where(flipped, 1 - centers, centers)
    return torch.cat([centers / of_reference, sizes / of_reference], 1)
