"""Test-time augmentation: one prediction from several views of an image."""

from mmmaskdino.stack import mmseg_works

from .det_tta import MaskDINOTTA

__all__ = ['MaskDINOTTA']

if mmseg_works():  # everything of mmdet works without it
    from .seg_tta import MaskDINOSegTTA

    __all__ += ['MaskDINOSegTTA']
