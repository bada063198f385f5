"""Everything that is wrong with one part of a dataset, and what is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.checked_dataset import check_image_files
from mmmaskdino.datasets.coco_checks import check_categories, check_lists, index_images, tidy
from mmmaskdino.datasets.coco_values import read_number
from mmmaskdino.datasets.files import DataError, find_missing_files, read_file
from mmmaskdino.datasets.image_loading import LoadCheckedImage
from mmmaskdino.datasets.instance_checks import InstanceChecker
from mmmaskdino.datasets.panoptic_checks import PanopticChecker, check_thing_order
from mmmaskdino.datasets.panoptic_loading import LoadCocoPanopticAnnotations
from mmmaskdino.stack import mmseg_works

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
        problems: What must be mended, a line for each kind, with file and annotation.
        num_repeated: How many problems more there are than lines.
        remarks: Oddities with which work can go on, and where they are.
        num_images: Images that are listed.
        sizes: (width, height) of each sound image, in pixels.
        objects: Objects (segments of panoptic data, images of semantic data) of each class.
        images: Images of each class.
        areas: Area of each object in pixels; of semantic data of each class in an image.
        objects_per_image: For each image; empty of semantic data.
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
    _read_images(summary, images, read_images, on_progress)


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
    pngs = {str(folder / entry['file_name']): entry.get('image_id') for entry in entries if 'file_name' in entry}
    for path in find_missing_files(pngs):
        report.error(f'panoptic annotation of image {pngs[path]}: no file at {path}')
    segments = [
        {**segment, 'image_id': entry.get('image_id')}
        for entry in entries
        for segment in (entry['segments_info'] if isinstance(entry.get('segments_info'), list) else ())
    ]
    labels = {cat_id: label for label, cat_id in enumerate(cat_ids)}
    _count(summary, labels, images, segments)
    by_image = {entry.get('image_id'): entry for entry in entries}
    check_png = _PngCheck(folder, by_image, labels, summary.num_things)
    _read_images(summary, images, read_images, on_progress, check_png)


class _PngCheck:
    """Reads the panoptic PNG of an image as training would."""

    def __init__(self, folder: Path, entries: dict[Any, dict], labels: dict[int, int], num_things: int) -> None:
        self._folder, self._entries, self._labels, self._num_things = folder, entries, labels, num_things
        self._load = LoadCocoPanopticAnnotations(ignore_index=max(255, len(labels)))

    def __call__(self, image_id: Any, path: str, shape: tuple[int, int]) -> None:
        """Read the PNG of an image of the shape (h, w).

        Raises:
            DataError: It cannot be read or disagrees with the json or the image.
        """
        entry = self._entries.get(image_id, {})
        segments = entry.get('segments_info')
        known = isinstance(segments, list) and all(segment.get('category_id') in self._labels for segment in segments)
        if 'file_name' not in entry or not known or not (self._folder / entry['file_name']).is_file():
            return  # reported already
        labels = [self._labels[segment['category_id']] for segment in segments]
        infos = [
            dict(id=segment['id'], category=label, is_thing=label < self._num_things and not segment.get('iscrowd'))
            for segment, label in zip(segments, labels, strict=True)
        ]
        paths = dict(img_path=path, seg_map_path=str(self._folder / entry['file_name']))
        self._load.transform(dict(**paths, ori_shape=shape, instances=[], segments_info=infos))


def _read_coco(summary: SplitSummary, report: AnnotationReport) -> tuple[dict, dict[Any, dict | None]]:
    """The content of the json and its sound images by id."""
    split = summary.split
    content = read_json(split.source)
    check_lists(content, report, annotations_optional=False)
    content = tidy(content, report)
    images = index_images(content['images'], report)
    summary.num_images = len(content['images'])
    found = [(image, _path(split, image)) for image in images.values() if image is not None]
    check_image_files(found, 'the folder and file_name', report)
    return content, images


def _path(split: Split, image: dict) -> str:
    return str(split.root / split.image_dir / image['file_name'])


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
    summary.images.update(label for label, _ in seen)
    summary.objects_per_image = list(per_image.values())
    summary.sizes = [(image['width'], image['height']) for image in images.values() if image is not None]


def _read_images(
    summary: SplitSummary,
    images: dict[Any, dict | None],
    read_images: bool,
    on_progress: Progress,
    check_png: _PngCheck | None = None,
) -> None:
    """Read each image, and its PNG if there is one."""
    if not read_images:
        return
    load = LoadCheckedImage()
    for number, (image_id, image) in enumerate(images.items(), start=1):
        path = image and _path(summary.split, image)
        if path and Path(path).is_file():
            try:
                shape = load(dict(img_path=path, height=image['height'], width=image['width']))['ori_shape']
                if check_png:
                    check_png(image_id, path, tuple(shape))
            except DataError as error:
                summary.problems.append(f'image {image_id}: {error}')
        if on_progress:
            on_progress(number, len(images))


def _check_semantic(
    summary: SplitSummary,
    report: AnnotationReport,
    classes: Sequence[str] | None,
    read_images: bool,
    on_progress: Progress,
) -> None:
    if not mmseg_works():
        raise DataError(
            f'{summary.split.source}: label maps are read with mmseg; mmmaskdino doctor shows what is missing'
        )
    from mmmaskdino.datasets.seg_map_loading import IGNORED, read_label_map

    split = summary.split
    folder, seg_folder = split.root / split.image_dir, split.root / (split.seg_dir or '')
    images = sorted(path for path in folder.iterdir() if path.name.endswith(split.img_suffix))
    other = [p.name for p in folder.iterdir() if p.is_file() and p not in set(images) and not p.name.startswith('.')]
    for name in sorted(other):
        report.warn(f'files that do not end with {split.img_suffix} are left out', name)
    summary.num_images = len(images)
    load = LoadCheckedImage()
    pixels = np.zeros(256, np.int64)
    used = set()
    for number, path in enumerate(images, start=1):
        label_path = seg_folder / (path.name.removesuffix(split.img_suffix) + split.seg_suffix)
        used.add(label_path)
        try:
            labels = read_label_map(read_file(str(label_path)), str(label_path))
            shape = load(dict(img_path=str(path)))['ori_shape'] if read_images else labels.shape
            if labels.shape != tuple(shape):
                raise DataError(
                    f'{label_path}: the label map has {labels.shape[1]} x {labels.shape[0]} pixels (width x height), '
                    f'its image {path} has {shape[1]} x {shape[0]}'
                )
            _count_labels(summary, labels, classes, str(label_path))
            pixels += np.bincount(labels.ravel(), minlength=256)
        except DataError as error:
            summary.problems.append(str(error))
        if on_progress:
            on_progress(number, len(images))
    for path in sorted(set(seg_folder.glob(f'*{split.seg_suffix}')) - used):
        report.warn('label maps without image are left out', path.name)
    found = np.flatnonzero(pixels[:IGNORED])
    summary.classes = tuple(classes or (f'class {label}' for label in range(found.max(initial=0) + 1)))


def _count_labels(summary: SplitSummary, labels: np.ndarray, classes: Sequence[str] | None, path: str) -> None:
    from mmmaskdino.datasets.seg_map_loading import IGNORED, label_table, map_labels

    if classes:
        map_labels(labels, label_table(dict(num_classes=len(classes), reduce_zero_label=False)), path)
    counts = np.bincount(labels.ravel(), minlength=256)[:IGNORED]
    present = np.flatnonzero(counts)
    summary.objects.update(present.tolist())
    summary.images.update(present.tolist())
    summary.areas += counts[present].astype(float).tolist()
    summary.sizes.append(labels.shape[::-1])
