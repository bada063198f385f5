from .classification import QueryCrossEntropyLoss, QueryFocalLoss
from .criterion import MaskDINOCriterion
from .point_sampler import PointSampler

__all__ = ['MaskDINOCriterion', 'PointSampler', 'QueryCrossEntropyLoss', 'QueryFocalLoss']
