from importlib.util import find_spec

from . import dense_heads, detectors, layers, losses, seg_heads, task_modules

__all__ = ['dense_heads', 'detectors', 'layers', 'losses', 'seg_heads', 'task_modules']

if find_spec('mmseg') is not None:  # everything of mmdet works without it
    from . import decode_heads, segmentors  # noqa: F401

    __all__ += ['decode_heads', 'segmentors']
