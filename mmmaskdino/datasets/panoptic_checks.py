"""Checks of COCO panoptic annotations at start."""

from collections import Counter
from typing import Any

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.panoptic_ids import MAX_SEGMENT_ID

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
    for label, category in enumerate(categories):
        if category.get('isthing') not in (0, 1):
            report.error(f"category {category['name']!r} needs the key 'isthing' (0 or 1)")
        elif bool(category['isthing']) != (label < len(things)):
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

    def check(self, entries: list[dict]) -> None:
        """Check all entries; each image must have exactly one.

        Args:
            entries: One per image: `image_id`, `file_name` (of the PNG) and `segments_info`, a list of `id`,
                `category_id`, `bbox` and `area`.
        """
        for entry in entries:
            self._check_entry(entry)
        counts = Counter(entry.get('image_id') for entry in entries)
        for image_id, image in self.images.items():
            if counts[image_id] != 1:
                file_name = image['file_name'] if image else 'faulty entry'
                self.report.image_error(
                    f"image {image_id} ({file_name}): needs one entry in 'annotations', got {counts[image_id]}",
                    [image_id],
                )

    def _check_entry(self, entry: dict) -> None:
        place = f'panoptic annotation of image {entry.get("image_id")} ({entry.get("file_name")})'
        images = [entry.get('image_id')]
        missing = [key for key in ENTRY_KEYS if key not in entry]
        if missing:
            self.report.image_error(f'{place}: the key(s) {missing} are missing', images)
            return
        if entry['image_id'] not in self.images:
            self.report.image_error(f"{place}: no image has this id; add it to 'images' or remove this entry", images)
        if not isinstance(entry['segments_info'], list):
            self.report.image_error(f'{place}: segments_info must be a list, got {entry["segments_info"]!r}', images)
            return
        for segment in entry['segments_info']:
            self._check_segment(segment, f'segment {segment.get("id")}, {place}', images)
        counts = Counter(segment.get('id') for segment in entry['segments_info'])
        repeated = [segment_id for segment_id, count in counts.items() if count > 1]
        if repeated:
            self.report.image_error(f'{place}: the segment ids {repeated} are given more than once', images)

    def _check_segment(self, segment: dict, place: str, images: list) -> None:
        missing = [key for key in SEGMENT_KEYS if key not in segment]
        if missing:
            self.report.image_error(f'{place}: the key(s) {missing} are missing', images)
            return
        if not isinstance(segment['id'], int) or not 0 < segment['id'] <= MAX_SEGMENT_ID:
            self.report.image_error(f'{place}: a segment id must lie in [1, {MAX_SEGMENT_ID}] (0 is void)', images)
        if segment['category_id'] not in self.category_names:
            self.report.image_error(
                f'{place}: category id {segment["category_id"]} is not among the '
                f"{len(self.category_names)} of the file's 'categories'; correct it or add the category",
                images,
            )
        elif segment['category_id'] not in self.cat_ids:
            self.report.error(
                f'{place}: category {self.category_names[segment["category_id"]]!r} is not in metainfo.classes; '
                'add it to classes and to thing_classes or stuff_classes, or paint its segments void in the file'
            )
        box = segment['bbox']
        if not isinstance(box, list) or len(box) != 4:
            self.report.image_error(f'{place}: bbox must be [x, y, width, height], got {box!r}', images)
        elif segment['area'] <= 0 or box[2] < 1 or box[3] < 1:
            # Should the PNG have pixels of it all the same, loading the PNG raises.
            self.report.warn('segments left out: area 0 or box below one pixel', place)
