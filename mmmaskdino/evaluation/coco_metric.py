"""Box AP and mask AP of COCO, with the annotations that the datasets of this package read."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.coco_checks import check_categories, check_lists, index_images, read_json, tidy
from mmmaskdino.datasets.instance_checks import InstanceChecker


@METRICS.register_module()
class CheckedCocoMetric(CocoMetric):
    """mmdet's `CocoMetric` that reads the annotation file as the datasets of this package do.

    So it reads what they accept, and rejects what they reject. Objects that they accept but leave out of training (a
    mask without pixels, a box below one pixel or outside the image) count, as in published AP: a model that does not
    find them misses them, and `data check` names them. pycocotools has its own reading of a file: it never counts
    the annotation id 0 as found and takes no texts as ids (annotations are numbered here), counts what says
    'ignore' (here such objects are neither hits nor misses, like crowds), and mmdet finds the classes by the order of
    the categories (here by their names; `classwise` names them rightly in any order, too).

    Args:
        ann_file: COCO json; None to evaluate with the `instances` of the data samples.
        kwargs: The other arguments of mmdet's `CocoMetric`.
    """

    def __init__(self, ann_file: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ann_file = ann_file
        self._ranks: np.ndarray | None = None  # of each class among the sorted category ids

    @property
    def dataset_meta(self) -> dict | None:
        """Of the dataset: `classes`, or `thing_classes` of a panoptic one, are found in the file when it is set."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta
        if self.ann_file is not None and dataset_meta is not None:
            self._read(dataset_meta.get('thing_classes', dataset_meta['classes']))

    def _read(self, classes: Sequence[str]) -> None:
        """Read the annotation file.

        Raises:
            DataError: It has problems; all are listed.
        """
        report = AnnotationReport(self.ann_file)
        content = read_json(self.ann_file, self.backend_args)
        check_lists(content, report, annotations_optional=True)
        content = tidy(content, report)
        images = index_images(content['images'], report)
        cat_ids = check_categories(content['categories'], classes, report)
        if 'annotations' in content:
            names = {category['id']: category['name'] for category in content['categories']}
            checker = InstanceChecker(images, names, cat_ids, 'segm' in self.metrics, report)
            sound = checker.check(content['annotations'], drop_unlisted_categories=True)
            content['annotations'] = [
                dict(annotation, id=number, iscrowd=int(annotation['iscrowd'] or annotation.get('ignore', 0)))
                for number, annotation in enumerate(sound, start=1)
            ]
        report.raise_errors()  # the warnings are those of the dataset, which has given them
        self._coco_api = _CheckedCOCO(content)
        # COCOeval sorts the ids, and mmdet takes its rows for those of its own list.
        self.cat_ids = sorted(cat_ids)
        self._ranks = np.array([self.cat_ids.index(cat_id) for cat_id in cat_ids], dtype=int)

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict:
        """Write the results with the category ids of the file.

        Args:
            results: Of each image, with the positions of classes as `labels`.
            outfile_prefix: Beginning of the paths of the files.

        Returns:
            Path of the file of each kind of result.
        """
        if self._ranks is not None:
            results = [dict(result, labels=self._ranks[result['labels']]) for result in results]
        return super().results2json(results, outfile_prefix)


class _CheckedCOCO(COCO):
    """pycocotools' index of a content that is read already."""

    def __init__(self, content: dict) -> None:
        super().__init__()
        self.dataset = content
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs
