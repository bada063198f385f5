"""Mask DINO for OpenMMLab. Importing this package registers all its classes."""

from .stack import check_stack
from .version import __version__

check_stack()

from . import apis, datasets, engine, evaluation, models, visualization  # noqa: E402
from .apis.inference.det_inferencer import complete_det_inferencer  # noqa: E402

datasets.register_all()
complete_det_inferencer()

__all__ = ['__version__', 'apis', 'datasets', 'engine', 'evaluation', 'models', 'visualization']
