"""Metrics: COCO boxes and masks, panoptic quality, mean IoU; and the files that an evaluation writes."""

from mmmaskdino.evaluation.coco_metric import CheckedCocoMetric
from mmmaskdino.evaluation.dumped_results import DumpedResults
from mmmaskdino.evaluation.panoptic_metric import PanopticQualityMetric
from mmmaskdino.evaluation.panoptic_quality import MatchCounts, PanopticImage, PanopticQuality, count_matches
from mmmaskdino.evaluation.semantic_metric import PanopticIoUMetric

__all__ = [
    'CheckedCocoMetric',
    'DumpedResults',
    'MatchCounts',
    'PanopticIoUMetric',
    'PanopticImage',
    'PanopticQuality',
    'PanopticQualityMetric',
    'count_matches',
]
