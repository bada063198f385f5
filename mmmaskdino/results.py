"""Arrays of what samples hold, whichever form a model or an annotation gives it."""

from typing import Any

import numpy as np
from mmengine.structures import PixelData
from pycocotools import mask as coco_mask
from torch import Tensor


def mask_array(masks: Any) -> np.ndarray:
    """Masks of objects.

    Args:
        masks (Tensor | BitmapMasks | PolygonMasks | list[dict]): Of a model, of annotations, or COCO run-length codes,
            as models with ``test_cfg.rle_masks`` and images in tiles have; on the CPU.

    Returns:
        np.ndarray: (n, h, w) bool; (0, 0, 0) of an empty list, which has no size.
    """
    if isinstance(masks, list):
        return np.stack([one_mask(mask) for mask in masks]) if masks else np.zeros((0, 0, 0), bool)
    return (masks.numpy() if isinstance(masks, Tensor) else masks.to_ndarray()).astype(bool)


def one_mask(mask: Tensor | dict) -> np.ndarray:
    """(h, w) bool of one object's mask, or of its COCO run-length code."""
    return (coco_mask.decode(mask) if isinstance(mask, dict) else mask.numpy()).astype(bool)


def label_map(data: PixelData) -> np.ndarray:
    """(h, w) int of a panoptic or semantic map, whose name is ``sem_seg`` in mmdet and, when predicted, in mmseg."""
    return np.asarray(data.sem_seg if 'sem_seg' in data else data.data)[0]
