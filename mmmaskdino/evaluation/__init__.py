from mmmaskdino.evaluation.panoptic_metric import PanopticQualityMetric
from mmmaskdino.evaluation.panoptic_quality import MatchCounts, PanopticImage, PanopticQuality, count_matches
from mmmaskdino.evaluation.semantic_metric import PanopticIoUMetric

__all__ = [
    'MatchCounts',
    'PanopticIoUMetric',
    'PanopticImage',
    'PanopticQuality',
    'PanopticQualityMetric',
    'count_matches',
]
