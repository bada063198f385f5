"""Checks of COCO panoptic annotations at start."""

from collections import Counter
from collections.abc import Hashable
from typing import Any

from mmmaskdino.datasets.annotation_report import AnnotationReport, as_json
from mmmaskdino.datasets.coco_checks import unknown_category
from mmmaskdino.datasets.coco_values import read_number
from mmmaskdino.datasets.names import find_file_name_fault
from mmmaskdino.datasets.panoptic_png import ADD_BOXES, MAX_SEGMENT_ID

# A panoptic result is label + instance * 1000: mmdet's INSTANCE_OFFSET, whose import takes seconds.
MAX_CLASSES = 999
ENTRY_KEYS = ('image_id', 'file_name', 'segments_info')
SEGMENT_KEYS = ('id', 'category_id', 'bbox', 'area')


def check_thing_order(categories: list[dict], metainfo: dict, report: AnnotationReport) -> None:
    """Check that labels 0 .. num_things - 1 are things and the rest stuff, in the file and in the metainfo.

    Args:
        categories: Entries of the file that are classes, in their order, with `name` and `isthing`.
        metainfo: The dataset's, with `classes`, `thing_classes` and `stuff_classes`.
        report: Collects the problems.
    """
    things, stuff = list(metainfo.get('thing_classes', ())), list(metainfo.get('stuff_classes', ()))
    if things + stuff != list(metainfo['classes']):
        report.error(
            'metainfo.classes must be metainfo.thing_classes followed by metainfo.stuff_classes, got '
            f'{list(metainfo["classes"])}, {things} and {stuff}; give all three in the dataset config'
        )
        return
    if len(categories) > MAX_CLASSES:
        report.error(f'panoptic results have room for {MAX_CLASSES} classes, got {len(categories)}')
    unknown = [category for category in categories if category.get('isthing') not in (0, 1)]
    if unknown:
        report.error(
            f"{len(unknown)} of {len(categories)} categories need the key 'isthing' (0 or 1), first "
            f'{unknown[0]["name"]!r}: {unknown[0].get("isthing")!r}'
        )
    for label, category in enumerate(categories):
        if category not in unknown and bool(category['isthing']) != (label < len(things)):
            listed_in = 'thing_classes' if label < len(things) else 'stuff_classes'
            report.error(
                f'category {category["name"]!r} has isthing={category["isthing"]}, but is in metainfo.{listed_in}'
            )


class PanopticChecker:
    """Checks each entry of a COCO panoptic file.

    Args:
        images: Entry of each image id, None for a faulty one.
        category_names: Name of each category id in the file.
        cat_ids: Category ids of the dataset's classes.
        report: Collects the problems.
    """

    def __init__(
        self,
        images: dict[Any, dict | None],
        category_names: dict[int, str],
        cat_ids: list[int],
        report: AnnotationReport,
    ) -> None:
        self.images = images
        self.category_names = category_names
        self.cat_ids = set(cat_ids)
        self.report = report
        self.faulty_images: set[Hashable] = set()
        """Ids of the images whose entry has a fault."""
        self._left_out: list[str] = []  # places of the segments that mmdet leaves out

    def check(self, entries: list[dict]) -> None:
        """Check all entries; each image must have exactly one.

        Args:
            entries: One per image: `image_id`, `file_name` (of the PNG) and `segments_info`, a list of `id`,
                `category_id`, `bbox` and `area`.
        """
        num_errors_before = self.report.num_errors
        self.report.totals.update(entries=len(entries), segments=0)
        self.report.totals.setdefault('images', len(self.images))
        for entry in entries:
            self._check_entry(entry)
        counts = Counter(_hashable(entry.get('image_id')) for entry in entries)
        for image_id, image in self.images.items():
            if counts[image_id] != 1:
                file_name = image['file_name'] if image else 'faulty entry'
                place = f'image {as_json(image_id)} ({file_name})'
                self._note(
                    "needs one entry in 'annotations'", place, f'got {counts[image_id]}', image_id, image_id, 'images'
                )
        if self.report.num_errors == num_errors_before and not self.report.left_out:
            self._check_what_is_left()

    def _check_what_is_left(self) -> None:
        """Shares of the image in the place of pixels, or areas that were never computed, leave nothing to train on."""
        if self._left_out and len(self._left_out) == self.report.totals['segments']:
            self.report.error(
                f'all {len(self._left_out)} segments have area 0 or a box below one pixel, so that none is left to '
                f'train on, the first: {self._left_out[0]}; {ADD_BOXES}'
            )
            self.faulty_images.update(self.images)

    def _note(self, fault: str, place: str, got: str, label: Any, image_id: Hashable, kind: str) -> None:
        self.report.fault(fault, place, got, label, [image_id], kind)
        self.faulty_images.add(image_id)

    def _check_entry(self, entry: dict) -> None:
        place = f'panoptic annotation of image {as_json(entry.get("image_id"))} ({entry.get("file_name")})'
        image_id = _hashable(entry.get('image_id'))

        def note(fault: str, got: str = '') -> None:
            self._note(fault, place, got, image_id, image_id, 'entries')

        missing = [key for key in ENTRY_KEYS if key not in entry]
        if missing:
            note(f'the key(s) {missing} are missing')
            return
        if name_fault := find_file_name_fault(entry['file_name']):
            note(f'file_name {name_fault}', f'got {as_json(entry["file_name"])}')
        if image_id not in self.images:
            note("no image has this id; add it to 'images' or remove this entry")
        segments = entry['segments_info']
        if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
            note('segments_info must be a list of objects', f'got {as_json(segments)}')
            return
        self.report.totals['segments'] += len(segments)
        for segment in segments:
            self._check_segment(segment, f'segment {as_json(segment.get("id"))}, {place}', image_id)
        counts = Counter(_hashable(segment.get('id')) for segment in segments if 'id' in segment)
        repeated = [segment_id for segment_id, count in counts.items() if count > 1]
        if repeated:
            note('the ids of the segments of an image must be unique', f'given more than once: {as_json(repeated)}')

    def _check_segment(self, segment: dict, place: str, image_id: Hashable) -> None:
        def note(fault: str, got: str = '') -> None:
            self._note(fault, place, got, segment.get('id'), image_id, 'segments')

        missing = [key for key in SEGMENT_KEYS if key not in segment]
        if missing:
            computed = f'; {ADD_BOXES}' if set(missing) <= {'bbox', 'area'} else ''
            note(f'the key(s) {missing} are missing{computed}')
            return
        segment_id, category = segment['id'], _hashable(segment['category_id'])
        if not _is_whole(segment_id) or not 0 < segment_id <= MAX_SEGMENT_ID:
            wanted = f'a segment id must lie in [1, {MAX_SEGMENT_ID}] (0 is void), a whole number'
            note(wanted, f'got {as_json(segment_id)}')
        if category not in self.category_names:
            note(unknown_category(self.category_names), f'got {as_json(segment["category_id"])}')
        elif category not in self.cat_ids:
            name = f'category {self.category_names[category]!r} is not in metainfo.classes'
            fix = 'add it to classes and to thing_classes or stuff_classes, or paint its segments void in the file'
            self.report.fault(f'{name}; {fix}', place, label=segment_id, kind='segments')
        box, area = segment['bbox'], segment['area']
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, [*box, area])):
            wanted = 'bbox must be [x, y, width, height] and area a number'
            note(wanted, f'got {as_json(box)} and {as_json(area)}')
        elif is_left_out(segment):
            # Should the PNG have pixels of it all the same, loading the PNG raises.
            self.report.warn('segments left out: area 0 or box below one pixel', place)
            self._left_out.append(place)


def is_left_out(segment: dict) -> bool:
    """Whether mmdet leaves a sound segment out."""
    return segment['area'] <= 0 or min(segment['bbox'][2:]) < 1


def _is_number(value: Any) -> bool:
    return not isinstance(value, str) and read_number(value) is not None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _hashable(value: Any) -> Any:
    """The value, or a text in the place of a list or object, which can be no id."""
    return value if isinstance(value, Hashable) else repr(value)
