from mmmaskdino.datasets.coco_instance import CheckedCocoDataset
from mmmaskdino.datasets.coco_panoptic import CheckedCocoPanopticDataset
from mmmaskdino.datasets.coco_style import (
    CheckedADE20KInstanceDataset,
    CheckedADE20KPanopticDataset,
    CheckedCityscapesInstanceDataset,
    CheckedCityscapesPanopticDataset,
    CheckedLVISDataset,
)
from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.image_loading import LoadCheckedImage
from mmmaskdino.datasets.instance_loading import LoadCheckedAnnotations
from mmmaskdino.datasets.object_masks import ObjectMasks
from mmmaskdino.datasets.panoptic_boxes import add_boxes
from mmmaskdino.datasets.panoptic_ids import ids_to_rgb, read_panoptic_png, rgb_to_ids
from mmmaskdino.datasets.panoptic_loading import LoadCocoPanopticAnnotations
from mmmaskdino.datasets.resizing import AntialiasedResize, LargeScaleJitter
from mmmaskdino.datasets.targets import DiagonalRandomCrop, DrawTargets
from mmmaskdino.stack import mmseg_works

__all__ = [
    'AntialiasedResize',
    'CheckedADE20KInstanceDataset',
    'CheckedADE20KPanopticDataset',
    'CheckedCityscapesInstanceDataset',
    'CheckedCityscapesPanopticDataset',
    'CheckedCocoDataset',
    'CheckedCocoPanopticDataset',
    'CheckedLVISDataset',
    'DataError',
    'DiagonalRandomCrop',
    'DrawTargets',
    'LargeScaleJitter',
    'LoadCheckedAnnotations',
    'LoadCheckedImage',
    'LoadCocoPanopticAnnotations',
    'ObjectMasks',
    'add_boxes',
    'ids_to_rgb',
    'read_panoptic_png',
    'rgb_to_ids',
]

if mmseg_works():  # everything of mmdet works without it
    from mmmaskdino.datasets.seg_map_loading import LoadCheckedSegMap
    from mmmaskdino.datasets.semantic import CheckedADE20KDataset, CheckedCityscapesDataset, CheckedSegDataset

    __all__ += ['CheckedADE20KDataset', 'CheckedCityscapesDataset', 'CheckedSegDataset', 'LoadCheckedSegMap']
