"""COCO's panoptic PNGs: the segment id of a pixel is R + 256 G + 65536 B, and 0 is void; without torch."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmmaskdino.datasets.coco_checks import read_json
from mmmaskdino.datasets.files import DataError, check_num_pixels, read_file

MAX_SEGMENT_ID = 256**3 - 1
ADD_BOXES = 'bbox and area can be computed from the PNGs: mmmaskdino.datasets.add_boxes'


def rgb_to_ids(rgb: np.ndarray) -> np.ndarray:
    """Convert the colours of a panoptic PNG to segment ids; the inverse of :func:`ids_to_rgb`.

    Args:
        rgb: (h, w, 3) uint8, channels in the order red, green, blue.

    Returns:
        (h, w) int32 ids in [0, 2**24 - 1].

    Raises:
        ValueError: The array has another shape or type.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f'Expected an (h, w, 3) uint8 array of colours, got shape {rgb.shape} and type {rgb.dtype}')
    ids = rgb[..., 2].astype(np.int32)
    for channel in (1, 0):
        ids <<= 8
        ids |= rgb[..., channel]
    return ids


def ids_to_rgb(ids: np.ndarray) -> np.ndarray:
    """Convert segment ids to the colours of a panoptic PNG; the inverse of :func:`rgb_to_ids`.

    Args:
        ids: (h, w) integers in [0, 2**24 - 1].

    Returns:
        (h, w, 3) uint8, channels in the order red, green, blue.

    Raises:
        ValueError: The array is not an integer map, or an id does not fit three bytes.
    """
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f'Expected an (h, w) array of integer ids, got shape {ids.shape} and type {ids.dtype}')
    if ids.size and not 0 <= ids.min() <= ids.max() <= MAX_SEGMENT_ID:
        raise ValueError(f'Segment ids must lie in [0, {MAX_SEGMENT_ID}], got {ids.min()} .. {ids.max()}')
    # The first three bytes of a little-endian id are its red, green and blue.
    little_endian = np.ascontiguousarray(ids, dtype='<u4')
    return np.ascontiguousarray(little_endian.view(np.uint8).reshape(*ids.shape, 4)[..., :3])


def read_panoptic_png(path: str, backend_args: dict[str, Any] | None = None) -> np.ndarray:
    """Read the segment ids of a COCO panoptic PNG.

    Args:
        path: File path or URI.
        backend_args: Arguments of mmengine's file backend; None means it is chosen by the path.

    Returns:
        (h, w) int32 ids, 0 where the pixel is void.

    Raises:
        DataError: The file is missing, empty, truncated, no PNG, not 8-bit RGB, or of more than 100 million pixels.
    """
    content = read_file(path, backend_args)
    check_num_pixels(content, path)
    try:
        with Image.open(io.BytesIO(content)) as image:
            image_format, mode = image.format, image.mode
            pixels = np.asarray(image)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError or its own, by the kind of damage
        raise DataError(f'{path}: not a readable panoptic PNG ({type(error).__name__}: {error})') from error
    if image_format != 'PNG' or mode != 'RGB':
        raise DataError(
            f'{path}: a panoptic annotation must be an 8-bit RGB PNG whose colours are segment ids '
            f'(id = R + 256 G + 65536 B), got a {image_format} of mode {mode!r}; write it with '
            'mmmaskdino.datasets.ids_to_rgb'
        )
    return rgb_to_ids(pixels)


def read_segment_map(results: Mapping[str, Any], backend_args: dict | None = None) -> np.ndarray:
    """Read the PNG and number its segments as the json does.

    Args:
        results: With `seg_map_path`, `ori_shape`, `img_path`, `segments_info` and, optionally, `segments_left_out`, the
            ids of segments of the json that are not in `segments_info` for want of an area.
        backend_args: Arguments of mmengine's file backend.

    Returns:
        (h, w) int16: 0 for void, else 1 + the position of the segment in `segments_info`.
    """
    path, segments = results['seg_map_path'], results['segments_info']
    if path is None:
        raise DataError(f'{results["img_path"]}: no panoptic PNG is known; set data_prefix=dict(seg=...)')
    ids = read_panoptic_png(path, backend_args)
    if ids.shape != tuple(results['ori_shape']):
        raise DataError(
            f'{path}: the panoptic PNG has {ids.shape[1]} x {ids.shape[0]} pixels (width x height), but its image '
            f'{results["img_path"]} {results["ori_shape"][1]} x {results["ori_shape"][0]}'
        )
    segment_ids = np.array([segment['id'] for segment in segments], dtype=np.int64)
    # Untouched pages of the table cost nothing, so this is far quicker than sorting or comparing id by id.
    number_of_id = np.zeros(MAX_SEGMENT_ID + 1, dtype=np.int16)
    number_of_id[segment_ids] = np.arange(1, len(segments) + 1)
    segment_map = number_of_id[ids]
    _check_ids(ids, segment_map, segment_ids, results)
    return segment_map


def _check_ids(ids: np.ndarray, segment_map: np.ndarray, segment_ids: np.ndarray, results: Mapping[str, Any]) -> None:
    """Raise if ids of the PNG are not in the json, or the reverse."""
    num_pixels = np.bincount(segment_map.ravel(), minlength=len(segment_ids) + 1)[1:]
    only_json = segment_ids[num_pixels == 0].tolist()
    only_png = np.unique(ids[(segment_map == 0) & (ids != 0)]).tolist()
    if wrong := sorted(set(only_png).intersection(results.get('segments_left_out', ()))):
        raise DataError(
            f'{results["seg_map_path"]}: the PNG has pixels of segments that have area 0 or a box below one pixel in '
            f'segments_info (image {results["img_path"]}): {wrong}; {ADD_BOXES}'
        )
    if only_json or only_png:
        raise DataError(
            f'{results["seg_map_path"]}: the segment ids of the PNG and of segments_info (image '
            f'{results["img_path"]}) disagree: only in the PNG {only_png}, only in the json {only_json}; '
            'paint the former void (0) or add them to the json, and remove the latter from it'
        )


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
