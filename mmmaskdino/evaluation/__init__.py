from mmmaskdino.evaluation.panoptic_metric import PanopticQualityMetric
from mmmaskdino.evaluation.panoptic_quality import MatchCounts, PanopticImage, PanopticQuality, count_matches

__all__ = ['MatchCounts', 'PanopticImage', 'PanopticQuality', 'PanopticQualityMetric', 'count_matches']
