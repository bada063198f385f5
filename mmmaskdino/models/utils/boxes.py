"""Boxes from masks, without a loop over masks and without waiting for the device."""

import torch
from torch import Tensor

from mmmaskdino.ops.device import from_host


def masks_to_boxes(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Tight half-open boxes of binary masks.

    Args:
        masks (Tensor): Bool masks of shape (..., h, w).

    Returns:
        tuple[Tensor, Tensor]: Boxes of shape (..., 4), xyxy in pixels, the far edge excluded (zeros for an empty mask),
        and a bool tensor of shape (...), True where the mask has a pixel.
    """
    h, w = masks.shape[-2:]
    columns, rows = masks.any(-2), masks.any(-1)
    x1, x2 = _extent(columns, w)
    y1, y2 = _extent(rows, h)
    filled = columns.any(-1)
    boxes = torch.stack([x1, y1, x2, y2], -1)
    return boxes * filled[..., None], filled


def _extent(occupied: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First occupied position and the one after the last, along the last dimension."""
    occupied = occupied.float()  # argmax of a bool is not implemented on every device
    return occupied.argmax(-1).float(), size - occupied.flip(-1).argmax(-1).float()


def normalize_boxes(boxes_px: Tensor, canvas: tuple[int, int]) -> Tensor:
    """xyxy boxes in pixels to cxcywh in [0, 1] of the canvas.

    Args:
        boxes_px (Tensor): (..., 4) xyxy in pixels.
        canvas (tuple[int, int]): Height and width of the padded canvas.

    Returns:
        Tensor: (..., 4) cxcywh.
    """
    x1, y1, x2, y2 = boxes_px.unbind(-1)
    h, w = canvas
    return torch.stack([(x1 + x2) / 2 / w, (y1 + y2) / 2 / h, (x2 - x1) / w, (y2 - y1) / h], -1)


def clamp_boxes(boxes: Tensor) -> Tensor:
    """Boxes (..., 4) in [1e-5, 1 - 1e-5], what a logit of limited precision leaves, as in the released weights."""
    return boxes.clamp(1e-5, 1 - 1e-5)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(..., 4) cxcywh to xyxy, in whatever unit they are."""
    center, size = boxes.split(2, -1)
    return torch.cat([center - size / 2, center + size / 2], -1)


def boxes_from_query_masks(masks: Tensor, predicted: Tensor, convention: str) -> Tensor:
    """Initial boxes of the decoder from the masks of the selected queries (paper, section 3.3).

    Args:
        masks (Tensor): Bool masks of shape (bs, num_queries, h, w).
        predicted (Tensor): Predicted boxes of shape (bs, num_queries, 4), cxcywh.
        convention (str): ``tight``: half-open, an empty mask keeps the predicted box. Two are those the released
            weights were trained with: ``bitmask``, half-open and (0, 0, 0, 0) for an empty mask; ``mask2box``, the last
            row and column left out and (1, 1, 0, 0) for an empty mask. Three are ``tight`` boxes that a stray pixel
            cannot spoil: ``cut``, of the part of the mask in the predicted box, grown by a tenth on each side;
            ``quantiles``, of the rows and columns without the outermost hundredth of the mask on each side; ``agreed``,
            where it overlaps the predicted one with an IoU of at least 0.5, and else the predicted one.

    Returns:
        Tensor: Boxes of shape (bs, num_queries, 4), cxcywh in [0, 1].
    """
    if convention == 'cut':
        masks = masks & _inside(predicted, masks.shape[-2:])
    boxes_px, filled = _central_boxes(masks) if convention == 'quantiles' else masks_to_boxes(masks)
    filled = filled[..., None]
    if convention == 'mask2box':
        boxes_px = boxes_px - from_host([0, 0, 1, 1], boxes_px)
    boxes = clamp_boxes(normalize_boxes(boxes_px, masks.shape[-2:]))
    if convention == 'agreed':
        filled = filled & (box_ious(boxes, predicted) >= LEAST_AGREEMENT)[..., None]
    if convention in ('bitmask', 'mask2box'):
        predicted = clamp_boxes(from_host([1, 1, 0, 0] if convention == 'mask2box' else [0, 0, 0, 0], boxes))
    return torch.where(filled, boxes, predicted)


LEAST_AGREEMENT = 0.5
MARGIN = 0.1
TAIL = 0.01


def _inside(boxes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Whether the cells of maps (h, w) lie in grown boxes (..., 4) cxcywh: (..., h, w) bool."""
    axes = []
    for axis in (0, 1):
        cells = (torch.arange(shape[1 - axis], dtype=boxes.dtype, device=boxes.device) + 0.5) / shape[1 - axis]
        reach = boxes[..., 2 + axis, None] * (0.5 + MARGIN)
        axes.append((cells - boxes[..., axis, None]).abs() <= reach)
    return axes[1][..., None] & axes[0][..., None, :]


def _central_boxes(masks: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`masks_to_boxes` of the rows and columns between two quantiles of the mask."""
    columns, rows = masks.sum(-2), masks.sum(-1)
    area = rows.sum(-1, keepdim=True)
    ends = []
    for counts in (columns, rows):
        # The parts of the mask up to the far edge of each row, and from its near edge on.
        before, after = counts.cumsum(-1), counts.flip(-1).cumsum(-1).flip(-1)
        ends.append(_extent((before > TAIL * area) & (after > TAIL * area), counts.shape[-1]))
    (x1, x2), (y1, y2) = ends
    filled = area[..., 0] > 0
    return torch.stack([x1, y1, x2, y2], -1) * filled[..., None], filled


def box_ious(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU (...) of each pair of boxes (..., 4), cxcywh in [0, 1]."""
    boxes, others = cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(others)
    inner = torch.minimum(boxes, others)[..., 2:] - torch.maximum(boxes, others)[..., :2]
    overlap = inner.clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (boxes, others)]
    return overlap / (areas[0] + areas[1] - overlap).clamp(min=1e-12)
