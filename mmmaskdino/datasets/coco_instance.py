"""COCO instance annotations, checked."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.checked_dataset import CheckedDatasetMixin, iterate_transforms
from mmmaskdino.datasets.instance_checks import InstanceChecker
from mmmaskdino.datasets.instance_loading import LoadCheckedAnnotations
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
