"""The numbers of the segments of a COCO panoptic PNG; without torch."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.panoptic_ids import MAX_SEGMENT_ID, read_panoptic_png


def read_segment_map(results: Mapping[str, Any], backend_args: dict | None = None) -> np.ndarray:
    """Read the PNG and number its segments as the json does.

    Args:
        results: With `seg_map_path`, `ori_shape`, `img_path` and `segments_info`.
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
    if only_json or only_png:
        raise DataError(
            f'{results["seg_map_path"]}: the segment ids of the PNG and of segments_info (image '
            f'{results["img_path"]}) disagree: only in the PNG {only_png}, only in the json {only_json}; '
            'paint the former void (0) or add them to the json, and remove the latter from it'
        )
