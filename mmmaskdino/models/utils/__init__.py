"""Boxes, positions, training targets and the parts of a model."""

from .boxes import boxes_from_query_masks, cxcywh_to_xyxy, masks_to_boxes, normalize_boxes
from .parts import fusion_of, head_of
from .targets import targets_from_label_maps, targets_from_samples

__all__ = [
    'boxes_from_query_masks',
    'cxcywh_to_xyxy',
    'fusion_of',
    'head_of',
    'masks_to_boxes',
    'normalize_boxes',
    'targets_from_label_maps',
    'targets_from_samples',
]
