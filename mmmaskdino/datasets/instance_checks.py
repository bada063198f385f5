"""Checks of COCO instance annotations at start, of what mmdet would drop, relabel or trip over later."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from mmmaskdino.datasets.annotation_report import AnnotationReport, as_json
from mmmaskdino.datasets.area_checks import AreaReader
from mmmaskdino.datasets.coco_checks import unknown_category
from mmmaskdino.datasets.coco_values import TEXTS, is_id, read_flag, read_numbers
from mmmaskdino.datasets.mask_checks import NEEDED, Fault, Segmentation, is_far_outside, read_segmentation

ANNOTATION_KEYS = ('image_id', 'category_id')
KEPT, CROWDS = 'are trained on', 'are crowds'
# Published AP counts them; an evaluation that did not could not be compared.
LEFT_OUT = 'annotations left out of training, but counted in evaluation as by pycocotools'
MAX_VALUE = 10**9  # of a box; what is computed from larger ones need be no number any more
BOX_FORM = 'bbox must be [x, y, width, height], four finite numbers in pixels'
# The edges of a box and of its mask, which tools round in different ways.
TOLERANCE_PIXELS, TOLERANCE_SHARE = 2.0, 0.05
BOX_SHARES = 'boxes look like shares of the image'
OUTSIDE = 'boxes look like corners [x1, y1, x2, y2]: taken as sizes, they end outside the image'
MIN_OVERLAP = 0.5  # intersection over union of a box and the extent of its mask


class _Shape(NamedTuple):
    """Box and mask of an annotation; None where there is no mask or masks are not needed and it cannot be drawn."""

    box: list[float]
    mask: Segmentation | None


class InstanceChecker:
    """Checks each annotation of a COCO instance file and puts what it can into the form that training expects.

    Args:
        images: Entry of each image id, None for a faulty one.
        category_names: Name of each category id in the file.
        cat_ids: Category ids of the dataset's classes.
        with_mask: Whether masks will be loaded or evaluated, so that segmentations must be good.
        report: Collects the problems.
    """

    def __init__(
        self,
        images: dict[Any, dict | None],
        category_names: dict[int, str],
        cat_ids: list[int],
        with_mask: bool,
        report: AnnotationReport,
    ) -> None:
        self.images = images
        self.category_names = category_names
        self.cat_ids = set(cat_ids)
        self.with_mask = with_mask
        self.report = report
        self._uses = Counter()  # what becomes of the annotations that have no fault
        self._first: dict[str, dict] = {}  # annotation of each use
        self._seen: set[int] = set()
        self._box_forms = _BoxForms(report)
        self._areas = AreaReader(report, self._place)

    def check(self, annotations: list[dict], drop_unlisted_categories: bool) -> list[dict]:
        """Check all annotations.

        Args:
            annotations: Entries with `image_id`, `category_id`, `bbox` (x, y, width, height in pixels), `area`,
                `iscrowd`, with masks `segmentation`, and an `id`, by which messages name them.
            drop_unlisted_categories: Whether the annotations of categories that are no class may be left out.

        Returns:
            The sound ones of the classes, with a box and an area, `iscrowd` and `ignore` as 0 or 1 and segmentations
            that can be drawn. Annotations themselves are not changed.
        """
        num_errors_before = self.report.num_errors
        self.report.totals['annotations'] = len(annotations)
        sound, unlisted = [], []
        for annotation in annotations:
            read = self._read_annotation(annotation)
            if read is not None:
                (sound if read['category_id'] in self.cat_ids else unlisted).append(read)
        self._report_unlisted(unlisted, drop_unlisted_categories)
        self._check_ids(annotations)
        self._box_forms.report_forms()
        self._areas.mend_small()
        if self.report.num_errors == num_errors_before and not self.report.left_out:
            self._check_what_is_left()
        if not annotations:
            self.report.warn(
                'no annotation at all: every image counts as one without objects, so AP cannot be measured',
                'whole file',
            )
        return sound

    def _report_unlisted(self, unlisted: list[dict], drop: bool) -> None:
        counts = Counter(annotation['category_id'] for annotation in unlisted)
        first = {annotation['category_id']: annotation for annotation in reversed(unlisted)}
        for category_id, count in counts.items():
            name = f'{self.category_names[category_id]!r} (id {category_id})'
            if drop:
                self.report.warn('categories left out by drop_unlisted_categories', f'{name}, {count} annotations')
            else:
                self.report.error(
                    f'category {name} has {count} annotation(s), first {self._place(first[category_id])}, but is not '
                    'in metainfo.classes; add it there, or set drop_unlisted_categories=True to train without it'
                )

    def _check_ids(self, annotations: list[dict]) -> None:
        ids = [annotation.get('id') for annotation in annotations]
        counts = Counter(annotation_id for annotation_id in ids if is_id(annotation_id))
        images = {annotation_id: [] for annotation_id, count in counts.items() if count > 1}
        for annotation_id, annotation in zip(ids, annotations, strict=True) if images else ():
            if is_id(annotation_id) and annotation_id in images:
                images[annotation_id].append(annotation.get('image_id'))
        for annotation_id, image_ids in images.items():
            self.report.fault(
                'ids of annotations must be unique',
                f'annotation id {as_json(annotation_id)}',
                f'is given {len(image_ids)} times',
                annotation_id,
                [image_id for image_id in image_ids if image_id in self.images],
            )

    def _check_what_is_left(self) -> None:
        """Nothing to train on is no training, and a file of crowds alone gives an AP of -1."""
        if not self._uses or KEPT in self._uses:
            return
        num = sum(self._uses.values())
        first = {use: self._place(annotation) for use, annotation in self._first.items()}
        if self._uses.keys() == {CROWDS}:
            self.report.error(
                f'all {num} objects are crowds (iscrowd 1), so that none is left to train on or to evaluate, the '
                f'first: {first[CROWDS]}; set iscrowd to 0 where an annotation is one object'
            )
        else:
            what = '; '.join(f'{count} {use}, the first: {first[use]}' for use, count in self._uses.items())
            self.report.error(f'none of the {num} objects is left to train on: {what}')

    def _fault(self, annotation: dict, fault: str, got: str = '') -> None:
        image_id = annotation.get('image_id')
        self.report.fault(fault, self._place(annotation), got, annotation.get('id'), [image_id])

    def _place(self, annotation: dict) -> str:
        image = self.images.get(annotation.get('image_id'))
        file_name = f', {image["file_name"]}' if image else ''
        numbers = f'annotation {as_json(annotation.get("id"))} (image {as_json(annotation.get("image_id"))}'
        return f'{numbers}{file_name})'

    def _read_annotation(self, annotation: dict) -> dict | None:
        """The annotation in the form that training expects; None if it has a fault."""
        missing = [key for key in ANNOTATION_KEYS if key not in annotation]
        if not annotation.get('bbox') and not annotation.get('segmentation'):
            missing += [key for key in ('bbox', 'segmentation') if key not in annotation]
        if missing:
            self._fault(annotation, f'the key(s) {missing} are missing')
        elif annotation['image_id'] not in self.images:
            self._fault(
                annotation,
                "no image has this id; add it to 'images' or remove the annotation",
                f'got {as_json(annotation["image_id"])}',
            )
        elif annotation['category_id'] not in self.category_names:
            self._fault(
                annotation,
                unknown_category(self.category_names),
                f'got {as_json(annotation["category_id"])}',
            )
        elif annotation['category_id'] not in self.cat_ids:
            return annotation
        elif (image := self.images[annotation['image_id']]) is not None:  # else the image is reported already
            return self._read_object(annotation, image)
        return None

    def _read_object(self, annotation: dict, image: dict) -> dict | None:
        flags = {key: read_flag(annotation.get(key)) for key in ('iscrowd', 'ignore')}
        for key, flag in flags.items():
            if flag is None:
                self._fault(annotation, f'{key} must be 0 or 1', f'got {as_json(annotation[key])}')
                return None
        if annotation.get('iscrowd') is None:
            self.report.warn("annotations without 'iscrowd', taken as 0", self._place(annotation))
        elif type(annotation['iscrowd']) is str:
            self.report.warn(TEXTS, self._place(annotation))
        shape = self._read_shape(annotation, image)
        if shape is None:
            return None
        read = dict(annotation, bbox=shape.box, iscrowd=flags['iscrowd'])
        if 'ignore' in annotation:
            read['ignore'] = flags['ignore']
        read['area'] = self._areas.read(read, shape.mask, _size(image))
        if shape.mask is not None:
            read['segmentation'] = shape.mask.value
        elif not self.with_mask:
            read.pop('segmentation', None)
        what = hash((read['image_id'], read['category_id'], *read['bbox']))
        if what in self._seen:
            kind = 'annotations with the image, category and box of another'
            self.report.warn(kind, self._place(annotation))
        self._seen.add(what)
        use = self._find_use(annotation, read, shape, image)
        self._uses[use] += 1
        self._first.setdefault(use, annotation)
        return read

    def _find_use(self, annotation: dict, read: dict, shape: _Shape, image: dict) -> str:
        """What an object is for, or why it is not trained on."""
        x, y, width, height = read['bbox']
        if read.get('ignore'):
            self.report.warn("annotations left out because they say 'ignore'", self._place(annotation))
            return "say 'ignore'"
        if self.with_mask and not shape.mask.has_pixels(_size(image)):
            read['area'] = 0  # with which mmdet leaves it out
            self.report.warn(f'{LEFT_OUT}: the mask has no pixel in the image', self._place(annotation))
            return 'have a mask without pixels'
        if width < 1 or height < 1:
            self.report.warn(f'{LEFT_OUT}: box below one pixel', self._place(annotation))
            return 'have a box below one pixel'
        if min(x + width, image['width']) <= max(x, 0) or min(y + height, image['height']) <= max(y, 0):
            self.report.warn(f'{LEFT_OUT}: box outside the image', self._place(annotation))
            return 'have a box outside the image'
        if shape.mask is not None and shape.mask.extent and is_far_outside(shape.mask.extent, _size(image)):
            self.report.warn('polygons that reach far outside the image, cut off there', self._place(annotation))
        return CROWDS if read['iscrowd'] else KEPT

    def _read_shape(self, annotation: dict, image: dict) -> _Shape | None:
        """Box and mask; None if one of them has a fault."""
        mask = self._read_mask(annotation, image)
        given = annotation.get('bbox')
        box = None
        if given:
            box = read_numbers(given) if isinstance(given, list) and len(given) == 4 else None
            if box is None:
                self._fault(annotation, BOX_FORM, f'got {as_json(given)}')
                return None
            if box is not given:
                self.report.warn(TEXTS, self._place(annotation))
            if box[2] < 0 or box[3] < 0:
                self._fault(annotation, 'width and height of bbox [x, y, width, height] are below 0', as_json(given))
                return None
            if max(map(abs, box)) > MAX_VALUE:
                self._fault(annotation, f'bbox has a value above {MAX_VALUE}; correct it', f'got {as_json(given)}')
                return None
        if isinstance(mask, Fault):
            if self.with_mask:
                self._fault(annotation, mask.text, mask.got)
                return None
            mask = None
        if box is None or box[2] == 0 or box[3] == 0:
            box = self._box_of_mask(annotation, mask) or box
            if box is None:
                self._fault(annotation, BOX_FORM, f'got {as_json(given)}')
                return None
        elif not annotation.get('iscrowd') and not annotation.get('ignore'):
            form = self._box_forms.find(box, mask and mask.extent, _size(image))
            if form is not None:
                self._box_forms.add(form, self._place(annotation), box, mask and mask.extent)
        return _Shape(box, mask)

    def _box_of_mask(self, annotation: dict, mask: Segmentation | None) -> list[float] | None:
        if mask is None or mask.extent is None:
            return None
        x1, y1, x2, y2 = mask.extent
        if x2 - x1 < 1 or y2 - y1 < 1:
            return None
        self.report.warn('annotations without a box, which is taken from the mask', self._place(annotation))
        return [x1, y1, x2 - x1, y2 - y1]

    def _read_mask(self, annotation: dict, image: dict) -> Segmentation | Fault | None:
        """None where masks are not needed and there is none."""
        if not annotation.get('segmentation') and not self.with_mask:
            return None
        if 'segmentation' not in annotation:
            return Fault(NEEDED, 'got no such key')
        mask = read_segmentation(annotation['segmentation'], _size(image))
        if isinstance(mask, Segmentation) and self.with_mask:
            if mask.num_short:
                kind = 'polygons below three points left out; their annotations have others, which are kept'
                self.report.warn(kind, self._place(annotation))
            if mask.from_texts:
                self.report.warn(TEXTS, self._place(annotation))
        return mask


class _BoxForms:
    """Finds boxes that are no [x, y, width, height] in pixels, by the masks or, without these, by the image."""

    def __init__(self, report: AnnotationReport) -> None:
        self._report = report
        self._num_boxes = 0
        self._odd: dict[str, list[str]] = defaultdict(list)

    def find(
        self, box: Sequence[float], extent: tuple[float, float, float, float] | None, size: tuple[int, int]
    ) -> str | None:
        """Look at a box.

        Args:
            box: As it stands in the file.
            extent: Least x and y, greatest x and y of the mask in pixels; None without mask.
            size: Of the image, (h, w).

        Returns:
            What it looks like; '' if it only disagrees with its mask, None if it is right.
        """
        self._num_boxes += 1
        x, y, width, height = box
        corners = (x, y, x + width, y + height)
        if width <= 1 and height <= 1 and 0 <= x <= 1 and 0 <= y <= 1:
            return BOX_SHARES
        if extent is None:
            inside = 0 <= x < width <= size[1] + 1 and 0 <= y < height <= size[0] + 1
            return OUTSIDE if inside and (_exceeds(corners[2], size[1]) or _exceeds(corners[3], size[0])) else None
        if _agree(corners, extent) or _agree(corners, _clip(extent, size)):  # cut off at the border or not
            return None
        form = _find_form(box, extent, size)
        return form if form or not _overlap(corners, extent) else None

    def add(
        self, form: str, place: str, box: Sequence[float], extent: tuple[float, float, float, float] | None
    ) -> None:
        """Remember an odd box of a form at a place."""
        mask = '' if extent is None or form == BOX_SHARES else f', its mask has {_xywh(extent)}'
        self._odd[form].append(f'{place}: {as_json(box)}{mask}')

    def report_forms(self) -> None:
        """Report forms that most boxes have as an error, and odd boxes among others as a warning."""
        for form, places in self._odd.items():
            if form and 2 * len(places) > self._num_boxes:
                self._report.error(
                    f'{len(places)} of {self._num_boxes} {form}; expected bbox [x, y, width, height] and masks in '
                    f'pixels: {places[0]}'
                )
            elif form not in (BOX_SHARES, OUTSIDE):  # a box below one pixel is told as such
                kind = f'{form or "boxes disagree with their masks"}, of {self._num_boxes}'
                for place in places:
                    self._report.warn(kind, place)


def _find_form(box: Sequence[float], extent: tuple[float, float, float, float], size: tuple[int, int]) -> str:
    """What a box that is not that of its mask looks like; '' if nothing known."""
    a, b, c, d = box
    height, width = size
    if max(extent) <= 1 and min(extent) >= 0:
        return 'masks look like shares of the image'
    across, down = width / 100, height / 100
    forms = {
        'corners [x1, y1, x2, y2]': (a, b, c, d),
        'centre and size': (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
        'corners [y1, x1, y2, x2]': (b, a, d, c),
        '[y, x, height, width]': (b, a, b + d, a + c),
        'per cent of the image': (a * across, b * down, (a + c) * across, (b + d) * down),
    }
    return next((f'boxes look like {form}' for form, corners in forms.items() if _agree(corners, extent)), '')


def _clip(box: Sequence[float], size: tuple[int, int]) -> list[float]:
    """What of a box (x1, y1, x2, y2) lies in an image of the size (h, w)."""
    return [min(max(value, 0), limit) for value, limit in zip(box, (size[1], size[0]) * 2, strict=True)]


def _agree(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether two boxes (x1, y1, x2, y2) are the same up to how tools round."""
    across = max(TOLERANCE_PIXELS, TOLERANCE_SHARE * (second[2] - second[0]))
    down = max(TOLERANCE_PIXELS, TOLERANCE_SHARE * (second[3] - second[1]))
    return (
        abs(first[0] - second[0]) <= across
        and abs(first[1] - second[1]) <= down
        and abs(first[2] - second[2]) <= across
        and abs(first[3] - second[3]) <= down
    )


def _overlap(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether two boxes (x1, y1, x2, y2) have most of their areas in common."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    common = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return common >= MIN_OVERLAP * (sum(areas) - common)


def _exceeds(end: float, size: int) -> bool:
    return end > size + max(TOLERANCE_PIXELS, TOLERANCE_SHARE * size)


def _xywh(extent: tuple[float, float, float, float]) -> str:
    x1, y1, x2, y2 = extent
    return as_json([x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)])


def _size(image: dict) -> tuple[int, int]:
    return image['height'], image['width']
