"""Datasets of mmdet whose annotations are in COCO's formats, checked: only their classes are their own."""

from typing import Any

from mmdet.datasets import ADE20KInstanceDataset, ADE20KPanopticDataset, CityscapesDataset, LVISV1Dataset
from mmdet.registry import DATASETS

from mmmaskdino.datasets.coco_instance import CheckedCocoDataset
from mmmaskdino.datasets.coco_panoptic import CheckedCocoPanopticDataset


@DATASETS.register_module()
class CheckedADE20KInstanceDataset(CheckedCocoDataset):
    """ADE20K instance segmentation, 100 classes, as mmdet's converter `ade20k2coco.py` writes it."""

    METAINFO = ADE20KInstanceDataset.METAINFO


@DATASETS.register_module()
class CheckedADE20KPanopticDataset(CheckedCocoPanopticDataset):
    """ADE20K panoptic segmentation, 100 thing and 50 stuff classes, as mmdet's converter `ade20k2coco.py` writes it."""

    METAINFO = ADE20KPanopticDataset.METAINFO


@DATASETS.register_module()
class CheckedCityscapesInstanceDataset(CheckedCocoDataset):
    """Cityscapes instance segmentation, 8 classes, as mmdet's converter `cityscapes.py` writes it."""

    METAINFO = CityscapesDataset.METAINFO


@DATASETS.register_module()
class CheckedCityscapesPanopticDataset(CheckedCocoPanopticDataset):
    """Cityscapes panoptic segmentation, 8 thing and 11 stuff classes, as `cityscapesscripts` writes it.

    Its json names no image file as it lies on the disk; the image's id tells the folder (the city) and the name.
    """

    _THINGS = CityscapesDataset.METAINFO
    _STUFF = {
        'road': (128, 64, 128),
        'sidewalk': (244, 35, 232),
        'building': (70, 70, 70),
        'wall': (102, 102, 156),
        'fence': (190, 153, 153),
        'pole': (153, 153, 153),
        'traffic light': (250, 170, 30),
        'traffic sign': (220, 220, 0),
        'vegetation': (107, 142, 35),
        'terrain': (152, 251, 152),
        'sky': (70, 130, 180),
    }
    METAINFO = dict(
        classes=(*_THINGS['classes'], *_STUFF),
        thing_classes=_THINGS['classes'],
        stuff_classes=tuple(_STUFF),
        palette=[*_THINGS['palette'], *_STUFF.values()],
    )

    def _read_annotations(self) -> Any:
        content = super()._read_annotations()
        for image in content['images'] if isinstance(content, dict) and 'images' in content else ():
            city = str(image['id']).partition('_')[0]
            image['file_name'] = f'{city}/{image["id"]}_leftImg8bit.png'
        return content


@DATASETS.register_module()
class CheckedLVISDataset(CheckedCocoDataset):
    """LVIS v1 instance segmentation, 1203 classes.

    Its json has addresses of COCO's images in place of file names; their last two parts are folder and name. An image
    without address has its `file_name`, as in other files. No object of it is a crowd.
    """

    METAINFO = dict(classes=LVISV1Dataset.METAINFO['classes'])  # there is no palette

    def _read_annotations(self) -> Any:
        content = super()._read_annotations()
        if isinstance(content, dict):
            for image in content.get('images') or ():
                if isinstance(image, dict) and isinstance(image.get('coco_url'), str) and image['coco_url']:
                    image['file_name'] = '/'.join(image['coco_url'].split('/')[-2:])
            for annotation in content.get('annotations') or ():
                if isinstance(annotation, dict):
                    annotation['iscrowd'] = 0
        return content
