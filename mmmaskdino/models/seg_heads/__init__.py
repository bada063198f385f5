"""What turns query predictions into results."""

from .maskdino_fusion_head import MaskDINOFusionHead

__all__ = ['MaskDINOFusionHead']
