"""Boxes of things that agree with their masks."""

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from mmmaskdino.models.utils.boxes import masks_to_boxes


def join_with_masks(boxes: Tensor, masks: Tensor | list[dict], weight: float) -> Tensor:
    """Weighted mean of boxes and of those around their masks.

    Each side has two estimates of its own, whose errors differ: the box head's, and where the mask ends. Not in the
    paper.

    Args:
        boxes (Tensor): (n, 4) xyxy in pixels.
        masks (Tensor | list[dict]): (n, h, w) bool, or n COCO run-length codes.
        weight (float): Of the masks' boxes, in [0, 1]. A box whose mask is empty stays as it is.

    Returns:
        Tensor: (n, 4).
    """
    if isinstance(masks, list):
        x, y, width, height = np.asarray(coco_mask.toBbox(masks)).reshape(-1, 4).T if masks else np.zeros((4, 0))
        around = torch.from_numpy(np.stack([x, y, x + width, y + height], 1)).to(boxes)
        filled = torch.from_numpy(width > 0).to(boxes.device)
    else:
        around, filled = masks_to_boxes(masks)
    return torch.where(filled[:, None], boxes.lerp(around.to(boxes), weight), boxes)
