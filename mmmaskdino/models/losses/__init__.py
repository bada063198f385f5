from .classification import QueryCrossEntropyLoss, QueryFocalLoss
from .criterion import MaskDINOCriterion
from .mask_losses import AutogradPointLoss, PointBCELoss, PointDiceLoss
from .point_sampler import PointSampler

__all__ = [
    'AutogradPointLoss',
    'MaskDINOCriterion',
    'PointBCELoss',
    'PointDiceLoss',
    'PointSampler',
    'QueryCrossEntropyLoss',
    'QueryFocalLoss',
]
