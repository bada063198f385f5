"""The head of Mask DINO for mmseg's segmentors."""

from .maskdino_decode_head import MaskDINODecodeHead

__all__ = ['MaskDINODecodeHead']
