"""Masks of things that end where their boxes end."""

import torch
from torch import Tensor

BACKGROUND = -10.0  # a mask logit; its probability is 0.00005


def cut_to_boxes(mask_logits: Tensor, boxes: Tensor, margin: float, is_cut: Tensor | None = None) -> Tensor:
    """Set mask logits outside their own query's box to background.

    A mask is a dot product with features that know little of places, so parts far from the object are its typical
    error, and one mask over two objects that look alike; a box has neither. Not in the paper: YOLACT (Bolya et al.,
    ICCV 2019) crops its masks to the predicted boxes.

    Args:
        mask_logits (Tensor): (n, h, w) on a grid that covers the canvas.
        boxes (Tensor): (n, 4) cxcywh in [0, 1] of the canvas. A box of NaN cuts nothing.
        margin (float): Share of the box's width and height by which it is grown on each side, at least 0; half a cell
            of the grid is added.
        is_cut (Tensor | None): (n,) bool, False for masks to leave whole, as those of stuff are; None cuts all.

    Returns:
        Tensor: (n, h, w).
    """
    height, width = mask_logits.shape[1:]
    center_x, center_y, box_width, box_height = boxes[:, :, None].unbind(1)  # (n, 1) each
    outside_rows = _is_outside(height, center_y, box_height, margin)
    outside_columns = _is_outside(width, center_x, box_width, margin)
    if is_cut is not None:
        outside_rows, outside_columns = outside_rows & is_cut[:, None], outside_columns & is_cut[:, None]
    return mask_logits.masked_fill(outside_rows[:, :, None] | outside_columns[:, None], BACKGROUND)


def _is_outside(num_cells: int, center: Tensor, size: Tensor, margin: float) -> Tensor:
    """Whether the centre of each cell along an axis lies outside of each grown box: (n, num_cells)."""
    cells = (torch.arange(num_cells, dtype=center.dtype, device=center.device) + 0.5) / num_cells
    return (cells - center).abs() > size * (0.5 + margin) + 0.5 / num_cells
