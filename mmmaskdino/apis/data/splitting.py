"""Two annotation files made of one: images for training and images for validation."""

from __future__ import annotations

import json
import os
import posixpath
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.coco_checks import tidy
from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.predicted import IMAGES_IN

from .checking import SplitSummary
from .layout import PNGS_IN, SPLIT_OF, Split, read_json

NAMES = ('train', 'val')


class SplitPart(NamedTuple):
    """One of the two files."""

    path: Path
    num_images: int
    num_objects: int
    missing_classes: tuple[str, ...]
    """Names of the classes of which it has no object."""


def divide_annotations(
    summary: SplitSummary, val_share: float = 0.2, seed: int = 0, out: Path | None = None, overwrite: bool = False
) -> list[SplitPart]:
    """Divide the images of a COCO file at random. Images and PNGs stay where they are.

    Args:
        summary: Of a part of a dataset, of instance or panoptic data.
        val_share: Share of the images for validation, between 0 and 1; each side gets at least one image.
        seed: Of the random choice. The same seed divides another annotation file of the same images alike.
        out: Folder to write to; None for `<name of the file>_split` beside the file.
        overwrite: Whether files that are there are replaced.

    Returns:
        `train.json` and `val.json`. Each names the whole file, which `find_splits` of the folder leaves out then, and
        the folders of its images and PNGs.

    Raises:
        DataError: The data have a problem, no annotation file, or fewer than two images.
        ValueError: The share is not between 0 and 1, or a file is there already.
    """
    source = summary.split.source
    if summary.split.ann_file is None:
        raise DataError(
            f'{source}: label maps have no annotation file to divide; move images and label maps into folders with '
            'train and val in their names, such as images/train, images/val, masks/train and masks/val'
        )
    if summary.problems:
        raise DataError(
            f'{source}: {summary.num_problems} problem(s), the first: {summary.problems[0]}; mmmaskdino data check '
            'shows all'
        )
    content = tidy(read_json(source), AnnotationReport(str(source)))
    val_ids = _choose(source, content['images'], val_share, seed)
    out = out or source.with_name(f'{source.stem}_split')
    paths = {name: out / f'{name}.json' for name in NAMES}
    existing = [str(path) for path in paths.values() if path.exists()]
    if existing and not overwrite:
        raise ValueError(f'{" and ".join(existing)} exist(s); choose another --out or replace with --overwrite')
    out.mkdir(parents=True, exist_ok=True)
    return [_write(content, summary.split, path, val_ids, is_val=name == 'val') for name, path in paths.items()]


def _choose(source: Path, images: list[dict], val_share: float, seed: int) -> set:
    """Ids of the images for validation; those of one file stay together."""
    if not 0 < val_share < 1:
        raise ValueError(f'the share of the validation images must be between 0 and 1, got {val_share:g}')
    files: dict[str, list] = defaultdict(list)
    for image in images:
        files[posixpath.normpath(image['file_name'])].append(image['id'])
    if len(files) < 2:
        raise DataError(f'{source}: {len(files)} image, expected at least two to divide')
    number = min(max(round(val_share * len(files)), 1), len(files) - 1)
    # Sorted, so that the order in the file does not matter.
    chosen = random.Random(seed).sample(sorted((sorted(ids, key=str) for ids in files.values()), key=str), number)
    return {image_id for ids in chosen for image_id in ids}


def _write(content: dict[str, Any], whole: Split, path: Path, val_ids: set, is_val: bool) -> SplitPart:
    images = [image for image in content['images'] if (image['id'] in val_ids) == is_val]
    annotations = [entry for entry in content['annotations'] if (entry['image_id'] in val_ids) == is_val]
    info = content.get('info')
    info = {**(info if isinstance(info, dict) else {}), **_places(whole, path.parent)}
    part = {**content, 'info': info, 'images': images, 'annotations': annotations}
    path.write_text(json.dumps(part), encoding='utf-8')
    objects = [obj for entry in annotations for obj in entry.get('segments_info', [entry])]
    counts = Counter(obj['category_id'] for obj in objects)
    missing = tuple(entry['name'] for entry in content['categories'] if not counts[entry['id']])
    return SplitPart(path, len(images), len(objects), missing)


def _places(whole: Split, folder: Path) -> dict[str, str]:
    """Where the whole file, its images and its PNGs are, for a part in this folder."""
    # Links are followed as far as the root: '..' of a linked folder leads elsewhere.
    root = whole.root.resolve()
    places = {SPLIT_OF: whole.ann_file, IMAGES_IN: whole.image_dir, PNGS_IN: whole.seg_dir}
    return {
        key: Path(os.path.relpath(root / place, folder.resolve())).as_posix()
        for key, place in places.items()
        if place is not None
    }
