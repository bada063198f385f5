"""What a user's script calls."""

from .inference import Failure, Limits, Prediction, Predictor, predict_files
from .launch import build_runner, guarded_run, load_config, prepare_launcher, process_group

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
