from .lean_batch_norm import LeanBatchNorm
from .timm_backbone import TimmBackbone

__all__ = ['LeanBatchNorm', 'TimmBackbone']
