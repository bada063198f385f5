"""What a user's script calls. Imported by name when it is asked for: `apis.data` needs neither torch nor mmdet."""

import importlib
from typing import Any

_MODULE_OF = {
    'Failure': 'inference',
    'Limits': 'inference',
    'Prediction': 'inference',
    'Predictor': 'inference',
    'build_runner': 'launch',
    'guarded_run': 'launch',
    'load_config': 'launch',
    'predict_files': 'inference',
    'prepare_launcher': 'launch',
    'process_group': 'launch',
}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f'{__name__}.{_MODULE_OF[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
