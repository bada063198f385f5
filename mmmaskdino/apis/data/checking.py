"""Everything that is wrong with one part of a dataset, and what is in it."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.coco_checks import check_categories, check_lists, index_images, tidy
from mmmaskdino.datasets.coco_values import read_number
from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.image_reading import find_losses, read_image
from mmmaskdino.datasets.instance_checks import InstanceChecker
from mmmaskdino.datasets.names import find_file_name_fault, report_missing_files
from mmmaskdino.datasets.panoptic_checks import PanopticChecker, check_thing_order, is_left_out
from mmmaskdino.datasets.panoptic_png import read_segment_map

from .faults import ReportedRemarks, report_file_fault
from .layout import Split, read_json

Progress = Callable[[int, int], None] | None


@dataclass
class SplitSummary:
    """What is in one part of a dataset.

    Attributes:
        split: The part.
        classes: Names, things first; of instance data all categories, also those without any object.
        num_things: How many of them are things.
        has_masks: Whether its objects have masks.
        problems: What must be fixed, a line for each kind, with file and annotation.
        num_repeated: How many problems more there are than lines.
        remarks: Oddities with which work can go on, and where they are.
        num_images: Images that are listed.
        sizes: (width, height) of each sound image, in pixels.
        objects: Objects (segments of panoptic data, images of semantic data) of each class.
        images: Images of each class.
        areas: Area of each object in pixels; of semantic data of each class in an image.
        objects_per_image: For each image; empty of semantic data.
        box_sizes: Root of the area of each thing's box as a share of that of its image, 0 to 1.
        paths: Of the listed images.
        pixels: (256,) of each label of semantic data, as the files have them; None of other data.
        named: Whether the data or the user name the classes.
    """

    split: Split
    classes: tuple[str, ...] = ()
    num_things: int = 0
    has_masks: bool = True
    problems: list[str] = field(default_factory=list)
    num_repeated: int = 0
    remarks: dict[str, list[str]] = field(default_factory=dict)
    num_images: int = 0
    sizes: list[tuple[int, int]] = field(default_factory=list)
    objects: Counter = field(default_factory=Counter)
    images: Counter = field(default_factory=Counter)
    areas: list[float] = field(default_factory=list)
    objects_per_image: list[int] = field(default_factory=list)
    box_sizes: list[float] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    pixels: np.ndarray | None = None
    named: bool = True

    @property
    def num_problems(self) -> int:
        """How many there are; a fault of several annotations is one line, but counts for each."""
        return len(self.problems) + self.num_repeated


def check_split(
    split: Split,
    classes: Sequence[str] | None = None,
    read_images: bool = True,
    on_progress: Progress = None,
    with_masks: bool = True,
) -> SplitSummary:
    """Check one part of a dataset as training would, and go on after the first problem.

    Args:
        split: The part.
        classes: Class names of semantic data; None names them by their index.
        read_images: Whether to read each image and PNG; without that, damaged files and wrong sizes are not found.
        on_progress: Called after each image with the number so far and that of all.
        with_masks: Whether the masks of instance data are looked at; else they are taken as boxes alone.

    Returns:
        What is in it and what is wrong with it.
    """
    summary = SplitSummary(split, has_masks=with_masks)
    checks = dict(instance=_check_instance, panoptic=_check_panoptic, semantic=_check_semantic)
    report = AnnotationReport(str(split.source))
    for note in split.notes:
        report.warn(note, split.source.name)
    try:
        checks[split.kind](summary, report, classes, read_images, on_progress)
    except DataError as error:
        if not report.num_errors:  # else it is the report that has raised
            summary.problems.append(str(error))
    lines = report.lines()
    summary.problems = lines + summary.problems
    summary.num_repeated = report.num_errors - len(lines)
    summary.remarks = report.remarks
    return summary


def _check_instance(
    summary: SplitSummary, report: AnnotationReport, classes: Any, read_images: bool, on_progress: Progress
) -> None:
    content, images = _read_coco(summary, report)
    categories = content['categories']
    summary.classes = tuple(category.get('name') for category in categories)
    summary.num_things = len(summary.classes)
    cat_ids = check_categories(categories, summary.classes, report)
    annotations = content['annotations']
    has_masks = any(annotation.get('segmentation') for annotation in annotations)
    summary.has_masks = summary.has_masks and has_masks
    if annotations and not has_masks:
        report.warn('no segmentation at all: boxes can be trained, masks cannot', 'whole file')
    checker = InstanceChecker(
        images=images,
        category_names={category['id']: category['name'] for category in categories},
        cat_ids=cat_ids,
        with_mask=summary.has_masks,
        report=report,
    )
    sound = checker.check(annotations, drop_unlisted_categories=False)
    labels = {cat_id: label for label, cat_id in enumerate(cat_ids)}
    _count(summary, labels, images, annotations if report.num_errors else sound)
    _read_images(summary, report, images, read_images, on_progress)


def _check_panoptic(
    summary: SplitSummary, report: AnnotationReport, classes: Any, read_images: bool, on_progress: Progress
) -> None:
    split = summary.split
    content, images = _read_coco(summary, report)
    categories = content['categories']
    names = {flag: tuple(c.get('name') for c in categories if bool(c.get('isthing')) == flag) for flag in (True, False)}
    summary.classes, summary.num_things = names[True] + names[False], len(names[True])
    cat_ids = check_categories(categories, summary.classes, report)
    by_id = {category['id']: category for category in categories}
    metainfo = dict(classes=summary.classes, thing_classes=names[True], stuff_classes=names[False])
    check_thing_order([by_id[cat_id] for cat_id in cat_ids], metainfo, report)
    entries = content['annotations']
    checker = PanopticChecker(images, {cat_id: c['name'] for cat_id, c in by_id.items()}, cat_ids, report)
    checker.check(entries)
    folder = split.root / (split.seg_dir or '')
    named = [entry for entry in entries if not find_file_name_fault(entry.get('file_name'))]
    pngs = [(str(folder / entry['file_name']), entry.get('image_id')) for entry in named]
    what, where = 'panoptic annotation of image', f'file_name in {split.source.name}'
    report_missing_files(report, pngs, what, where, kind='entries')
    segments = [
        {**segment, 'image_id': entry.get('image_id')}
        for entry in entries
        if isinstance(entry.get('image_id'), Hashable)
        for segment in (entry['segments_info'] if isinstance(entry.get('segments_info'), list) else ())
        if isinstance(segment, dict) and isinstance(segment.get('category_id'), Hashable)
    ]
    labels = {cat_id: label for label, cat_id in enumerate(cat_ids)}
    _count(summary, labels, images, segments)
    by_image = {e['image_id']: e for e in named if isinstance(e.get('image_id', []), Hashable)}
    by_image = {image_id: entry for image_id, entry in by_image.items() if image_id not in checker.faulty_images}
    check_png = _PngCheck(folder, by_image)
    _read_images(summary, report, images, read_images, on_progress, check_png)


class _PngCheck:
    """Reads the panoptic PNG of an image as training would."""

    def __init__(self, folder: Path, entries: dict[Any, dict]) -> None:
        self._folder, self._entries = folder, entries

    def path(self, image_id: Any) -> str:
        """Of the PNG of an image; empty if it is not known."""
        entry = self._entries.get(image_id)
        return str(self._folder / entry['file_name']) if entry else ''

    def __call__(self, image_id: Any, path: str, shape: tuple[int, int]) -> None:
        """Read the PNG of an image of the shape (h, w).

        Raises:
            DataError: It cannot be read or disagrees with the json or the image.
        """
        entry = self._entries.get(image_id, {})
        segments = entry.get('segments_info')
        if segments is None or not os.path.exists(self._folder / entry['file_name']):
            return  # reported already
        kept = [segment for segment in segments if not is_left_out(segment)]
        left_out = [segment['id'] for segment in segments if is_left_out(segment)]
        paths = dict(img_path=path, seg_map_path=str(self._folder / entry['file_name']))
        read_segment_map(dict(**paths, ori_shape=shape, segments_info=kept, segments_left_out=left_out))


def _read_coco(summary: SplitSummary, report: AnnotationReport) -> tuple[dict, dict[Any, dict | None]]:
    """The content of the json and its sound images by id."""
    split = summary.split
    content = read_json(split.source)
    check_lists(content, report, annotations_optional=False)
    content = tidy(content, report)
    images = index_images(content['images'], report)
    summary.num_images = len(content['images'])
    paths = [(_path(split, image), image['id']) for image in images.values() if image is not None]
    # Also of faulty entries, whose files are listed all the same.
    summary.paths = [_path(split, i) for i in content['images'] if not find_file_name_fault(i.get('file_name'))]
    report_missing_files(report, paths, 'image', f'file_name in {split.source.name}')
    return content, images


def _path(split: Split, image: dict) -> str:
    return os.path.join(split.root, split.image_dir, image['file_name'])


def _count(summary: SplitSummary, labels: dict[int, int], images: dict[Any, dict | None], objects: list[dict]) -> None:
    """Count the objects whose class and image are known."""
    per_image: Counter = Counter({image_id: 0 for image_id, image in images.items() if image is not None})
    seen = set()
    for entry in objects:
        label, image_id = labels.get(entry.get('category_id')), entry.get('image_id')
        if label is None or image_id not in per_image:
            continue
        summary.objects[label] += 1
        per_image[image_id] += 1
        seen.add((label, image_id))
        if (read_number(entry.get('area')) or 0) > 0:
            summary.areas.append(float(entry['area']))
        if label < summary.num_things:
            summary.box_sizes += _box_size(entry.get('bbox'), images[image_id])
    summary.images.update(label for label, _ in seen)
    summary.objects_per_image = list(per_image.values())
    summary.sizes = [(image['width'], image['height']) for image in images.values() if image is not None]


def _box_size(box: Any, image: dict) -> list[float]:
    """Root of a box's area as a share of that of its image; nothing for a box that is none."""
    sides = [float(read_number(value) or 0) for value in box[2:]] if isinstance(box, (list, tuple)) else []
    share = math.prod(sides) / (image['width'] * image['height']) if len(sides) == 2 else 0
    return [min(math.sqrt(share), 1.0)] if share > 0 else []


def _read_images(
    summary: SplitSummary,
    report: AnnotationReport,
    images: dict[Any, dict | None],
    read_images: bool,
    on_progress: Progress,
    check_png: _PngCheck | None = None,
) -> None:
    """Read each image, and its PNG if there is one."""
    if not read_images:
        return
    remarks = ReportedRemarks(report)
    for number, (image_id, image) in enumerate(images.items(), start=1):
        path = image and _path(summary.split, image)
        if path and os.path.exists(path):
            try:
                pixels, content = read_image(dict(img_path=path, height=image['height'], width=image['width']))
                for remark in find_losses(content):
                    remarks.add(path, remark)
                if check_png:
                    check_png(image_id, path, pixels.shape[:2])
            except DataError as error:
                png = check_png.path(image_id) if check_png else ''
                report_file_fault(report, str(error), f'image {image_id}', image_id, (path, png))
        if on_progress:
            on_progress(number, len(images))


def _check_semantic(
    summary: SplitSummary,
    report: AnnotationReport,
    classes: Sequence[str] | None,
    read_images: bool,
    on_progress: Progress,
) -> None:
    from .semantic_checking import check_label_maps

    check_label_maps(summary, report, classes, read_images, on_progress)
