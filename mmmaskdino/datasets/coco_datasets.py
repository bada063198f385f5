"""COCO instance and panoptic annotations, and the datasets of mmdet in these formats, checked."""

import os.path as osp
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from mmdet.datasets import (
    ADE20KInstanceDataset,
    ADE20KPanopticDataset,
    CityscapesDataset,
    CocoDataset,
    CocoPanopticDataset,
    LVISV1Dataset,
)
from mmdet.registry import DATASETS

from mmmaskdino.datasets.annotation_loading import LoadCheckedAnnotations
from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.checked_dataset import CheckedDatasetMixin, iterate_transforms
from mmmaskdino.datasets.instance_checks import InstanceChecker
from mmmaskdino.datasets.names import find_file_name_fault, report_missing_files
from mmmaskdino.datasets.panoptic_checks import PanopticChecker, check_thing_order, is_left_out
from mmmaskdino.datasets.pipelines import replace_step


@DATASETS.register_module()
class CheckedCocoDataset(CheckedDatasetMixin, CocoDataset):
    """mmdet's `CocoDataset` that says what is wrong with a file instead of leaving it out.

    Errors at start, all at once: missing files, lists or keys; images one pixel high or wide; ids that are unknown or
    given twice; metainfo classes that are not the file's; categories that are no class; boxes that are corners or
    shares; and, where masks are needed, segmentations that are missing or cannot be drawn; no object left to train on.
    One warning: annotations that are left out because their box is empty or outside the image, values that are taken
    from others (a box or an area from the mask) or from a text, and the like.
    `LoadAnnotations` in the pipeline becomes :class:`LoadCheckedAnnotations`.

    Args:
        drop_unlisted_categories: Whether to leave out the annotations of categories that are not in
            `metainfo.classes`, to train on a few classes of a file.
        with_masks: Whether segmentations must be good; None for what the pipeline loads or, in tests, where it loads no
            annotations, for whether the file has any.
        pipeline: Transform configs or built transforms.
        kwargs: The arguments of mmdet's `CocoDataset`.
    """

    def __init__(
        self,
        *,
        drop_unlisted_categories: bool = False,
        with_masks: bool | None = None,
        pipeline: Sequence[dict | Callable] = (),
        **kwargs: Any,
    ) -> None:
        self.drop_unlisted_categories = drop_unlisted_categories
        self.with_masks = with_masks
        super().__init__(pipeline=replace_step(pipeline, 'LoadAnnotations', LoadCheckedAnnotations), **kwargs)

    def _check_annotations(self, content: dict, images: dict, report: AnnotationReport) -> dict[Any, list[dict]]:
        annotations = content.get('annotations', [])
        checker = InstanceChecker(
            images=images,
            category_names={category['id']: category['name'] for category in content['categories']},
            cat_ids=self.cat_ids,
            with_mask=self._needs_masks(annotations, report),
            report=report,
        )
        annotations = checker.check(annotations, self.drop_unlisted_categories)
        # What mmdet's filter_data and parse_data_info read.
        self.cat_img_map = defaultdict(list)
        by_image = defaultdict(list)
        for annotation in annotations:
            if not annotation.get('iscrowd'):  # as in the reference, an image of crowds alone is one without objects
                self.cat_img_map[annotation.get('category_id')].append(annotation.get('image_id'))
            by_image[annotation.get('image_id')].append(annotation)
        return by_image

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse one image as mmdet does, and give each object with a mask the id of its annotation.

        Args:
            raw_data_info: `raw_img_info` and `raw_ann_info`.

        Returns:
            mmdet's entry; its instances have an `annotation_id` besides.
        """
        data_info = super().parse_data_info(raw_data_info)
        ids = {id(ann['segmentation']): ann.get('id') for ann in raw_data_info['raw_ann_info'] if 'segmentation' in ann}
        for instance in data_info['instances']:  # mmdet hands on the segmentation itself
            instance['annotation_id'] = ids.get(id(instance.get('mask')))
        return data_info

    def _needs_masks(self, annotations: list[dict], report: AnnotationReport) -> bool:
        """Whether segmentations must be good."""
        if self.with_masks is not None:
            return self.with_masks
        transforms = iterate_transforms(self.pipeline)
        wishes = [transform.with_mask for transform in transforms if hasattr(transform, 'with_mask')]
        if wishes or not self.test_mode:
            return any(wishes)
        if any(annotation.get('segmentation') for annotation in annotations):
            return True
        if annotations:
            report.warn('no segmentation at all: boxes can be evaluated, masks cannot', 'whole file')
        return False


@DATASETS.register_module()
class CheckedCocoPanopticDataset(CheckedDatasetMixin, CocoPanopticDataset):
    """mmdet's `CocoPanopticDataset` that says what is wrong with a file instead of leaving it out.

    Errors at start, all at once: missing images, PNGs, lists or keys; images one pixel high or wide; images without
    exactly one entry in `annotations`; metainfo classes that are not the file's, or not things first;
    segments of categories that are no class. Whether the ids of a PNG and of the json agree is checked by
    `LoadCocoPanopticAnnotations`. The PNG is the one that the entry names; mmdet guesses it from the image's name.

    Args:
        kwargs: The arguments of mmdet's `CocoPanopticDataset`.
    """

    def load_data_list(self) -> list[dict]:
        """Read and check the annotation file; see the base class."""
        self.coco = self.COCOAPI()  # mmdet's parse_data_info asks it for the categories
        data_list = super().load_data_list()
        del self.coco
        return data_list

    def _check_annotations(self, content: dict, images: dict, report: AnnotationReport) -> dict[Any, list[dict]]:
        self.coco.cats = {category['id']: category for category in content['categories']}
        check_thing_order([self.coco.cats[cat_id] for cat_id in self.cat_ids], self.metainfo, report)
        if 'annotations' not in content:
            return defaultdict(list)
        entries = content['annotations']
        names = {cat_id: category['name'] for cat_id, category in self.coco.cats.items()}
        PanopticChecker(images, names, self.cat_ids, report).check(entries)
        self._check_pngs([e for e in entries if not find_file_name_fault(e.get('file_name'))], report)
        if report.num_errors:
            return defaultdict(list)
        sound = [entry for entry in entries if entry.get('image_id') not in report.left_out]
        for entry in sound:
            images[entry['image_id']]['segm_file'] = entry['file_name']
        return {
            entry['image_id']: [{**segment, 'image_id': entry['image_id']} for segment in entry['segments_info']]
            for entry in sound
        }

    def _check_pngs(self, entries: list[dict], report: AnnotationReport) -> None:
        if not self.data_prefix.get('seg'):
            report.error(f"data_prefix needs the key 'seg' (folder of the panoptic PNGs), got {self.data_prefix}")
            return
        paths = [(osp.join(self.data_prefix['seg'], entry['file_name']), entry.get('image_id')) for entry in entries]
        what = 'panoptic annotation of image'
        report_missing_files(report, paths, what, 'data_prefix.seg', self.backend_args, 'entries')

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse one image as mmdet does, but with the PNG that its entry names.

        Args:
            raw_data_info: `raw_img_info`, with `segm_file` if there are annotations, and `raw_ann_info`.

        Returns:
            mmdet's entry: `img_path`, `img_id`, `seg_map_path`, `height`, `width`, `instances`, `segments_info`; and
            where there are any, `segments_left_out`, the ids of the segments that have no area.
        """
        data_info = super().parse_data_info(raw_data_info)
        if left_out := [segment['id'] for segment in raw_data_info['raw_ann_info'] if is_left_out(segment)]:
            data_info['segments_left_out'] = left_out
        segm_file = raw_data_info['raw_img_info'].get('segm_file')
        data_info['seg_map_path'] = segm_file and osp.join(self.data_prefix['seg'], segm_file)
        return data_info


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
