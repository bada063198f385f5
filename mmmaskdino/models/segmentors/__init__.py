"""Mask DINO as a segmentor of mmseg."""

from .maskdino_segmentor import MaskDINOSegmentor

__all__ = ['MaskDINOSegmentor']
