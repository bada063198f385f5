"""Mask DINO as a detector of mmdet."""

from .maskdino import MaskDINO

__all__ = ['MaskDINO']
