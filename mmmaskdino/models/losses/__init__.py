"""The training loss: what is compared, in which points, with which normaliser."""

from .box_losses import BoxGIoULoss
from .classification import PositionSupervisedFocalLoss, QueryCrossEntropyLoss, QueryFocalLoss
from .criterion import MaskDINOCriterion
from .mask_losses import PointBCELoss, PointDiceLoss
from .point_sampler import PointSampler

__all__ = [
    'BoxGIoULoss',
    'MaskDINOCriterion',
    'PointBCELoss',
    'PointDiceLoss',
    'PointSampler',
    'PositionSupervisedFocalLoss',
    'QueryCrossEntropyLoss',
    'QueryFocalLoss',
]
