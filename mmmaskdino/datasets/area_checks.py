"""Areas of annotations: COCO's evaluation sorts objects by them, and counts none above 10 billion pixels."""

from collections.abc import Callable, Sequence

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.coco_values import TEXTS, read_number
from mmmaskdino.datasets.mask_checks import Segmentation

# Tools count pixels in different ways, also what lies outside the image, or in a file of another size. What is beyond
# these bounds is no area all the same: twice the larger of image and box (of nine images at most), and a twentieth of
# the mask in all objects of a file.
MAX_RATIO, MAX_IMAGES, MIN_RATIO = 2, 9, 0.05


class AreaReader:
    """Reads the areas of annotations and takes those of the masks or boxes where they cannot be right.

    Args:
        report: Collects the oddities.
        place: Names an annotation for people.
    """

    def __init__(self, report: AnnotationReport, place: Callable[[dict], str]) -> None:
        self._report = report
        self._place = place
        # Annotation, mask and size of the image; None as soon as one area is large enough.
        self._small: list[tuple[dict, Segmentation | None, Sequence[int]]] | None = []

    def read(self, annotation: dict, mask: Segmentation | None, size: Sequence[int]) -> float:
        """Read the area of an annotation.

        Args:
            annotation: With a good `bbox` and the `area` of the file; :meth:`mend_small` may change the latter.
            mask: None for an object with a box alone.
            size: Of the image, (h, w).

        Returns:
            The area in pixels; 0 if the object has none.
        """
        area = read_number(annotation.get('area'))
        box_area, image_area = annotation['bbox'][2] * annotation['bbox'][3], size[0] * size[1]
        if area is None or area <= 0:
            fault = 'is missing or not above 0'
        elif area > MAX_RATIO * max(image_area, min(box_area, MAX_IMAGES * image_area)):
            fault = 'is far above those of image and box'
        else:
            if area is not annotation['area']:
                self._report.warn(TEXTS, self._place(annotation))
            if 0 < box_area <= area / MIN_RATIO:  # the box is at hand, the mask must be drawn
                self._small = None
            elif self._small is not None:
                self._small.append((annotation, mask, size))
            return area
        found = _area_of(annotation, mask, size)
        if found > 0:
            self._warn(annotation, fault, mask)
        return found

    def mend_small(self) -> None:
        """Put other areas into the annotations if those of all are far too small, as shares of the image are."""
        found = [_area_of(*entry) for entry in self._small or ()]
        small = [(*entry[:2], area) for entry, area in zip(self._small or (), found, strict=True) if area > 0]
        # What fills a box has a pixel at least in each of its rows or columns.
        least = [area if mask else max(annotation['bbox'][2:]) for annotation, mask, area in small]
        if any(annotation['area'] >= MIN_RATIO * pixels for (annotation, *_), pixels in zip(small, least, strict=True)):
            return
        for annotation, mask, area in small:
            self._warn(annotation, 'is far too small, in all objects of the file', mask)
            annotation['area'] = area

    def _warn(self, annotation: dict, fault: str, mask: Segmentation | None) -> None:
        source = 'box' if mask is None else 'mask'
        kind = f"annotations whose 'area' {fault}; that of the {source} is taken"
        self._report.warn(kind, self._place(annotation))


def _area_of(annotation: dict, mask: Segmentation | None, size: Sequence[int]) -> float:
    """Pixels of the mask or, without it, the area of the box; at most that of the image, (h, w)."""
    _, _, width, height = annotation['bbox']
    return min(width * height, size[0] * size[1]) if mask is None else mask.count_pixels(size)
