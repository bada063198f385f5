"""Datasets, and the steps that load, resize and draw their images and annotations.

Imported by name when they are asked for: what checks files (`summary`) then needs neither torch nor mmdet.
:func:`register_all`, which `import mmmaskdino` calls, imports them all.
"""

import importlib
from typing import Any

_MODULES = {
    'annotation_loading': ['LoadCheckedAnnotations', 'LoadCocoPanopticAnnotations'],
    'coco_datasets': [
        'CheckedADE20KInstanceDataset',
        'CheckedADE20KPanopticDataset',
        'CheckedCityscapesInstanceDataset',
        'CheckedCityscapesPanopticDataset',
        'CheckedCocoDataset',
        'CheckedCocoPanopticDataset',
        'CheckedLVISDataset',
    ],
    'files': ['DataError'],
    'image_loading': ['LoadCheckedImage'],
    'object_masks': ['ObjectMasks'],
    'panoptic_png': ['add_boxes', 'ids_to_rgb', 'read_panoptic_png', 'rgb_to_ids'],
    'resizing': ['AntialiasedResize', 'LargeScaleJitter'],
    'targets': ['DiagonalRandomCrop', 'DrawTargets'],
    'tiling': ['CutTiles'],
}
_MODULES_OF_MMSEG = {
    'seg_map_loading': ['LoadCheckedSegMap'],
    'semantic': ['CheckedADE20KDataset', 'CheckedCityscapesDataset', 'CheckedSegDataset'],
}
_MODULE_OF = {name: module for module, names in {**_MODULES, **_MODULES_OF_MMSEG}.items() for name in names}

__all__ = [*_MODULE_OF, 'register_all']


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f'{__name__}.{_MODULE_OF[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def register_all() -> None:
    """Import all modules, so that configs find their classes; those of mmseg if it can be imported."""
    from mmmaskdino.stack import mmseg_works

    for module in [*_MODULES, *(_MODULES_OF_MMSEG if mmseg_works() else ())]:
        importlib.import_module(f'{__name__}.{module}')
