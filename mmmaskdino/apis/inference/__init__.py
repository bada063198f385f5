"""Prediction for images, folders and videos, in memory that does not grow with their size or number."""

from .det_inferencer import complete_det_inferencer
from .files import Summary, predict_files
from .predictor import Failure, Prediction, Predictor
from .reading import Limits

__all__ = ['Failure', 'Limits', 'Prediction', 'Predictor', 'Summary', 'predict_files']

complete_det_inferencer()
