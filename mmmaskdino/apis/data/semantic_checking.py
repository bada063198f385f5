"""What is wrong with the label maps of one part of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.files import IMAGE_SUFFIXES, DataError, list_files, read_file
from mmmaskdino.datasets.image_reading import find_losses, read_image
from mmmaskdino.datasets.label_values import IGNORED, label_table, map_labels, read_label_map

from .faults import ReportedRemarks, report_file_fault

if TYPE_CHECKING:
    from .checking import SplitSummary


def check_label_maps(
    summary: SplitSummary,
    report: AnnotationReport,
    classes: Sequence[str] | None,
    read_images: bool,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Read all label maps, and the images, as training would.

    Args:
        summary: Is filled.
        report: Collects problems and remarks.
        classes: Class names; None names them by their index.
        read_images: Whether to read the images, too.
        on_progress: Called after each image with the number so far and that of all.

    Raises:
        DataError: There are more class names than a label map has labels.
    """
    if classes and len(classes) > IGNORED:
        raise DataError(f'a label map of 8 bits has at most {IGNORED} classes, got {len(classes)} names')
    split = summary.split
    folder, seg_folder = split.root / split.image_dir, split.root / (split.seg_dir or '')
    names = list_files(folder, split.img_suffix)
    _report_left_out(report, folder, seg_folder, names, split.img_suffix, split.seg_suffix)
    summary.num_images, summary.paths = len(names), [str(folder / name) for name in names]
    summary.pixels, summary.named = np.zeros(IGNORED + 1, np.int64), bool(classes)
    remarks = ReportedRemarks(report)
    report.totals['images'] = len(names)
    for number, name in enumerate(names, start=1):
        path = str(folder / name)
        label_path = str(seg_folder / (name.removesuffix(split.img_suffix) + split.seg_suffix))
        try:
            labels = read_label_map(read_file(label_path), label_path)
            shape = labels.shape
            if read_images:
                image, content = read_image(dict(img_path=path))
                shape = image.shape[:2]
                for remark in find_losses(content):
                    remarks.add(path, remark)
            if labels.shape != shape:
                raise DataError(
                    f'{label_path}: the label map has {labels.shape[1]} x {labels.shape[0]} pixels (width x height), '
                    f'its image {path} has {shape[1]} x {shape[0]}'
                )
            _count_labels(summary, labels, classes, label_path)
        except DataError as error:
            report_file_fault(report, str(error), '', name, (path, label_path))
        if on_progress:
            on_progress(number, len(names))
    found = np.flatnonzero(summary.pixels[:IGNORED])
    summary.classes = tuple(classes or (f'class {label}' for label in range(found.max(initial=0) + 1)))


def _report_left_out(
    report: AnnotationReport, folder: Path, seg_folder: Path, names: list[str], img_suffix: str, seg_suffix: str
) -> None:
    """Name the files of both folders that are not used."""
    labels = {seg_folder / (name.removesuffix(img_suffix) + seg_suffix) for name in names}
    of_labels = {seg_folder / name for name in list_files(seg_folder, '')}
    others = [name for name in list_files(folder, '') if not name.endswith(img_suffix)]
    lost = {}  # images that have a label map all the same
    for name in others:
        label = seg_folder / (_with_type_of(img_suffix, name).removesuffix(img_suffix) + seg_suffix)
        if Path(name).suffix.lower() in IMAGE_SUFFIXES and label in of_labels - labels - {folder / name}:
            lost[folder / name] = label
    for path in (folder / name for name in others):
        if path in lost:
            kind = (
                f'of {len(names) + len(lost)} images those are left out whose names do not end with {img_suffix} as '
                'the others do; rename or convert them, so that all end alike'
            )
            report.warn(kind, path.name)
        elif path not in of_labels:
            report.warn(f'files that do not end with {img_suffix} are left out', path.name)
    images = {folder / name for name in names}
    for path in sorted(of_labels - labels - images - lost.keys() - set(lost.values())):
        if path.name.endswith(seg_suffix):
            report.warn('label maps without image are left out', path.name)
        else:
            report.warn(f'files beside the label maps that do not end with {seg_suffix} are left out', path.name)


def _with_type_of(suffix: str, name: str) -> str:
    """The name with the file type (what follows the last dot) that a suffix has."""
    return f'{name.rpartition(".")[0]}.{suffix.rpartition(".")[2]}'


def _count_labels(summary: SplitSummary, labels: np.ndarray, classes: Sequence[str] | None, path: str) -> None:
    counts = np.bincount(labels.ravel(), minlength=IGNORED + 1)
    if classes:
        map_labels(labels, label_table(dict(num_classes=len(classes), reduce_zero_label=False)), path)
    summary.pixels += counts
    present = np.flatnonzero(counts[:IGNORED])
    summary.objects.update(present.tolist())
    summary.images.update(present.tolist())
    summary.areas += counts[present].astype(float).tolist()
    summary.sizes.append(labels.shape[::-1])
