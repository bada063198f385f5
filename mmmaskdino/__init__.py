"""Mask DINO for OpenMMLab. Importing this package registers all its classes."""

from .stack import check_stack
from .version import __version__

check_stack()

from . import apis, datasets, engine, evaluation, models, visualization  # noqa: E402
from .apis import inference  # noqa: E402, F401  (completes mmdet's DetInferencer)

datasets.register_all()

__all__ = ['__version__', 'apis', 'datasets', 'engine', 'evaluation', 'models', 'visualization']
