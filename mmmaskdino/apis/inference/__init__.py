"""Prediction for images, folders and videos, in memory that does not grow with their size or number.

Imported by name when it is asked for: what looks for images (`sources`) needs neither torch nor mmdet.
"""

import importlib
from typing import Any

_MODULE_OF = {
    'Failure': 'prediction',
    'Limits': 'reading',
    'Outcome': 'files',
    'Prediction': 'prediction',
    'Predictor': 'predictor',
    'Summary': 'files',
    'predict_files': 'files',
}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f'{__name__}.{_MODULE_OF[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
