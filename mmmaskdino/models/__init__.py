from . import dense_heads, detectors, layers, losses, seg_heads, task_modules

__all__ = ['dense_heads', 'detectors', 'layers', 'losses', 'seg_heads', 'task_modules']
