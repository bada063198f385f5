"""Checks of COCO instance annotations at start, of what mmdet would drop, relabel or trip over later."""

import math
from collections import Counter, defaultdict
from typing import Any

from mmmaskdino.datasets.annotation_report import AnnotationReport

ANNOTATION_KEYS = {'id', 'image_id', 'category_id', 'bbox', 'area'}
MIN_POLYGON_NUMBERS = 6


class InstanceChecker:
    """Checks each annotation of a COCO instance file.

    Args:
        images: Entry of each image id, None for a faulty one.
        category_names: Name of each category id in the file.
        cat_ids: Category ids of the dataset's classes.
        with_mask: Whether masks will be loaded or evaluated, so that segmentations must be good.
        for_evaluation: Whether pycocotools will evaluate with the file.
        report: Collects the problems.
    """

    def __init__(
        self,
        images: dict[Any, dict | None],
        category_names: dict[int, str],
        cat_ids: list[int],
        with_mask: bool,
        for_evaluation: bool,
        report: AnnotationReport,
    ) -> None:
        self.images = images
        self.category_names = category_names
        self.cat_ids = set(cat_ids)
        self.with_mask = with_mask
        self.for_evaluation = for_evaluation
        self.report = report

    def check(self, annotations: list[dict], drop_unlisted_categories: bool) -> None:
        """Check all annotations.

        Args:
            annotations: Entries with `id`, `image_id`, `category_id`, `bbox` (x, y, width, height in pixels), `area`,
                `iscrowd` and, with masks, `segmentation`.
            drop_unlisted_categories: Whether the annotations of categories that are no class may be left out.
        """
        unlisted = [annotation for annotation in annotations if not self._check_annotation(annotation)]
        counts = Counter(annotation['category_id'] for annotation in unlisted)
        first = {annotation['category_id']: annotation for annotation in reversed(unlisted)}
        for category_id, count in counts.items():
            name = f'{self.category_names[category_id]!r} (id {category_id})'
            if drop_unlisted_categories:
                self.report.warn('categories left out by drop_unlisted_categories', f'{name}, {count} annotations')
            else:
                self.report.error(
                    f'category {name} has {count} annotation(s), first {self._place(first[category_id])}, but is not '
                    'in metainfo.classes; add it there, or set drop_unlisted_categories=True to train without it'
                )
        self._check_ids(annotations)
        if not annotations:
            result = ', so AP cannot be measured' if self.for_evaluation else ''
            self.report.warn(f'no annotation at all: every image counts as one without objects{result}', 'whole file')

    def _check_ids(self, annotations: list[dict]) -> None:
        images = defaultdict(list)
        for annotation in annotations:
            if 'id' in annotation:
                images[annotation['id']].append(annotation.get('image_id'))
        for annotation_id, image_ids in images.items():
            if len(image_ids) > 1:
                self.report.image_error(
                    f'annotation id {annotation_id} is given {len(image_ids)} times; ids must be unique', image_ids
                )

    def _error(self, annotation: dict, message: str) -> None:
        self.report.image_error(f'{self._place(annotation)}: {message}', [annotation.get('image_id')])

    def _place(self, annotation: dict) -> str:
        image = self.images.get(annotation.get('image_id'))
        file_name = f', {image["file_name"]}' if image else ''
        return f'annotation {annotation.get("id")} (image {annotation.get("image_id")}{file_name})'

    def _check_annotation(self, annotation: dict) -> bool:
        """Check one annotation; False if it is sound but its category is not among the classes."""
        if not annotation.keys() >= ANNOTATION_KEYS:
            missing = sorted(ANNOTATION_KEYS - annotation.keys())
            self._error(annotation, f'the key(s) {missing} are missing')
        elif annotation['image_id'] not in self.images:
            self._error(annotation, "no image has this id; add it to 'images' or remove this")
        elif annotation['category_id'] not in self.category_names:
            self._error(
                annotation,
                f'category id {annotation["category_id"]} is not among the '
                f"{len(self.category_names)} of the file's 'categories'; correct it or add the category",
            )
        elif annotation['category_id'] not in self.cat_ids:
            return False
        else:
            self._check_flags(annotation)
            image = self.images[annotation['image_id']]
            if image is not None and self._check_box(annotation, image) and self.with_mask:
                self._check_segmentation(annotation, image)
        return True

    def _check_flags(self, annotation: dict) -> None:
        if annotation.get('ignore'):
            self.report.warn("annotations left out because they say 'ignore'", self._place(annotation))
        if 'iscrowd' not in annotation:
            if self.for_evaluation:
                self._error(annotation, "evaluation needs the key 'iscrowd' (0 or 1)")
            else:
                self.report.warn("annotations without 'iscrowd', taken as 0", self._place(annotation))
        if self.for_evaluation and annotation['id'] == 0:
            self.report.warn(
                'pycocotools never counts annotation id 0 as found; number from 1', self._place(annotation)
            )

    def _check_box(self, annotation: dict, image: dict) -> bool:
        """Check box and area; False if mmdet leaves the annotation out or it is faulty."""
        box, area = annotation['bbox'], annotation['area']
        if not isinstance(box, list) or len(box) != 4 or not _are_finite([*box, area]):
            self._error(annotation, f'bbox must be [x, y, width, height] and area a number, got {box} and {area}')
            return False
        x, y, width, height = box
        if width < 0 or height < 0:
            self._error(annotation, f'bbox must be [x, y, width, height], got the size below 0 {box}')
        elif width < 1 or height < 1 or area <= 0:
            self.report.warn('annotations left out: box below one pixel or area 0', self._place(annotation))
        elif min(x + width, image['width']) <= max(x, 0) or min(y + height, image['height']) <= max(y, 0):
            self.report.warn('annotations left out: box outside the image', self._place(annotation))
        else:
            return True
        return False

    def _check_segmentation(self, annotation: dict, image: dict) -> None:
        segmentation = annotation.get('segmentation')
        if isinstance(segmentation, dict):
            fault = _find_rle_fault(segmentation, image)
        elif not segmentation or not isinstance(segmentation, list):
            fault = f'masks are needed, but the segmentation is missing or empty: {segmentation!r}'
        elif not all(isinstance(polygon, list) for polygon in segmentation):
            fault = 'a segmentation must be a list of polygons [[x1, y1, x2, y2, x3, y3, ...], ...] or an RLE'
        else:
            fault = self._find_polygon_fault(annotation, segmentation)
        if fault is not None:
            self._error(annotation, fault)

    def _find_polygon_fault(self, annotation: dict, polygons: list[list]) -> str | None:
        lengths = [len(polygon) for polygon in polygons]
        if any(length % 2 for length in lengths):
            return f'a polygon needs pairs x, y, got one of an odd number of values (lengths {lengths})'
        if min(lengths) >= MIN_POLYGON_NUMBERS:
            return None
        # mmdet leaves the short polygons out, but pycocotools takes four numbers for a box or refuses them.
        if max(lengths) < MIN_POLYGON_NUMBERS or self.for_evaluation:
            return (
                f'a polygon needs at least three points (6 values), got lengths {lengths}; draw it again or remove it'
            )
        kind = 'polygons below three points left out; their annotations have others, which are kept'
        self.report.warn(kind, self._place(annotation))
        return None


def _are_finite(numbers: list) -> bool:
    try:
        return math.isfinite(sum(numbers))
    except TypeError:
        return False


def _find_rle_fault(rle: dict, image: dict) -> str | None:
    size = [image['height'], image['width']]
    counts = rle.get('counts')
    if rle.get('size') != size:
        return f'the size of the RLE must be that of the image, [height, width] = {size}, got {rle.get("size")}'
    if not isinstance(counts, (str, list)) or not counts:
        return f"the RLE needs 'counts', a text (compressed) or a list of run lengths, got {counts!r}"
    if isinstance(counts, list) and sum(counts) != size[0] * size[1]:
        return f'the run lengths of the RLE must add up to {size[0] * size[1]} pixels, got {sum(counts)}'
    return None
