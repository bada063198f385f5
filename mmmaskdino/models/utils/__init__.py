from .boxes import boxes_from_query_masks, cxcywh_to_xyxy, masks_to_boxes, normalize_boxes
from .points import PointFeatures, PointLogits, move_out, sample_binary_masks
from .targets import targets_from_label_maps, targets_from_samples

__all__ = [
    'PointFeatures',
    'PointLogits',
    'boxes_from_query_masks',
    'cxcywh_to_xyxy',
    'masks_to_boxes',
    'move_out',
    'normalize_boxes',
    'sample_binary_masks',
    'targets_from_label_maps',
    'targets_from_samples',
]
