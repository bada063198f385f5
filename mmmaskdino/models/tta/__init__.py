"""One prediction from several views of an image: test-time augmentation, and tiles."""

from mmmaskdino.stack import mmseg_works

from .det_tta import MaskDINOTTA
from .tiles_model import MaskDINOTiles

__all__ = ['MaskDINOTTA', 'MaskDINOTiles']

if mmseg_works():  # everything of mmdet works without it
    from .seg_tta import MaskDINOSegTTA

    __all__ += ['MaskDINOSegTTA']
