"""Boxes, positions and training targets."""

from .boxes import boxes_from_query_masks, cxcywh_to_xyxy, masks_to_boxes, normalize_boxes
from .targets import targets_from_label_maps, targets_from_samples

__all__ = [
    'boxes_from_query_masks',
    'cxcywh_to_xyxy',
    'masks_to_boxes',
    'normalize_boxes',
    'targets_from_label_maps',
    'targets_from_samples',
]
