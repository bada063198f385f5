"""Backbones beside those of mmdet, and what a backbone must give."""

from .lean_batch_norm import LeanBatchNorm
from .timm_backbone import TimmBackbone

__all__ = ['LeanBatchNorm', 'TimmBackbone']
