"""What a user's script calls. Imported by name when it is asked for: `apis.data` needs neither torch nor mmdet."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .inference import Failure, Limits, Prediction, Predictor, predict_files
    from .launch import build_runner, guarded_run, load_config, prepare_launcher, process_group

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

__all__ = [
    'Failure',
    'Limits',
    'Prediction',
    'Predictor',
    'build_runner',
    'guarded_run',
    'load_config',
    'predict_files',
    'prepare_launcher',
    'process_group',
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f'{__name__}.{_MODULE_OF[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
