"""The head: everything after the backbone."""

from .maskdino_head import MaskDINOHead

__all__ = ['MaskDINOHead']
