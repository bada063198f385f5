"""The model: the method of the paper, and nothing else; what makes it fast or small is in mmmaskdino/ops."""

from mmmaskdino.stack import mmseg_works

from . import ablations, backbones, dense_heads, detectors, layers, losses, necks, seg_heads, task_modules, tta

__all__ = [
    'ablations',
    'backbones',
    'dense_heads',
    'detectors',
    'layers',
    'losses',
    'necks',
    'seg_heads',
    'task_modules',
    'tta',
]

if mmseg_works():  # everything of mmdet works without it
    from . import decode_heads, segmentors  # noqa: F401

    __all__ += ['decode_heads', 'segmentors']
