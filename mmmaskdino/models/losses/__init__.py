from .classification import QueryCrossEntropyLoss, QueryFocalLoss
from .criterion import MaskDINOCriterion
from .mask_losses import PointBCELoss
from .point_sampler import PointSampler

__all__ = ['PointBCELoss', 'MaskDINOCriterion', 'PointSampler', 'QueryCrossEntropyLoss', 'QueryFocalLoss']
