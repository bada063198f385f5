"""Boxes and areas of panoptic segments, for files that lack them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from mmmaskdino.datasets.coco_checks import read_json
from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.panoptic_ids import read_panoptic_png


def add_boxes(ann_file: str | os.PathLike, png_folder: str | os.PathLike, out: str | os.PathLike) -> int:
    """Write a copy of a COCO panoptic file whose segments have `bbox` and `area`, from the pixels of the PNGs.

    Args:
        ann_file: The file; `segments_info` of its annotations has `id` and `category_id` at least.
        png_folder: Folder of the PNGs.
        out: File to write.

    Returns:
        Number of the segments.

    Raises:
        DataError: A PNG cannot be read, or has no pixel of a segment.
    """
    content = read_json(str(ann_file))
    count = 0
    for entry in content['annotations']:
        path = Path(png_folder, entry['file_name'])
        ids = read_panoptic_png(str(path))
        for segment in entry['segments_info']:
            rows, columns = np.nonzero(ids == segment['id'])
            if not len(rows):
                raise DataError(f'{path}: no pixel of segment {segment["id"]}; remove it from segments_info')
            x, y = int(columns.min()), int(rows.min())
            segment['bbox'] = [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y]
            segment['area'] = len(rows)
            count += 1
    Path(out).write_text(json.dumps(content), encoding='utf-8')
    return count
