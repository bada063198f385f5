"""Boxes and areas from panoptic PNGs."""

import copy
import json

import pytest

from mmmaskdino.datasets import DataError, add_boxes


def test_they_are_those_of_the_pixels(write_dataset, panoptic_content, tmp_path) -> None:
    segments = panoptic_content['annotations'][0]['segments_info']
    expected = copy.deepcopy(segments)
    for segment in segments:
        del segment['bbox'], segment['area']
    root = write_dataset(panoptic_content)
    assert add_boxes(root / 'annotations.json', root, tmp_path / 'out.json') == len(expected)
    (entry,) = json.loads((tmp_path / 'out.json').read_text())['annotations']
    assert entry['segments_info'] == expected


def test_a_segment_without_pixels(write_dataset, panoptic_content, tmp_path) -> None:
    panoptic_content['annotations'][0]['segments_info'][0]['id'] = 12345
    root = write_dataset(panoptic_content)
    with pytest.raises(DataError, match=r'a\.png: no pixel of segment 12345'):
        add_boxes(root / 'annotations.json', root, tmp_path / 'out.json')
