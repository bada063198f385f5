"""Panoptic PNGs."""

import copy
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmmaskdino.datasets import DataError, add_boxes
from mmmaskdino.datasets.panoptic_png import ids_to_rgb, read_panoptic_png, rgb_to_ids


def test_ids_follow_the_coco_formula():
    rgb = np.array([[[1, 2, 3], [255, 0, 0], [0, 0, 0], [255, 255, 255]]], dtype=np.uint8)
    ids = rgb_to_ids(rgb)
    assert ids.dtype == np.int32
    assert ids.tolist() == [[1 + 256 * 2 + 65536 * 3, 255, 0, 256**3 - 1]]


@pytest.mark.parametrize('dtype', [np.int32, np.int64, np.uint32])
def test_conversions_are_inverse(dtype):
    ids = np.random.default_rng(0).integers(0, 256**3, (37, 53)).astype(dtype)
    rgb = ids_to_rgb(ids)
    assert rgb.shape == (37, 53, 3)
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb_to_ids(rgb), ids)


def test_conversions_take_views_and_empty_maps():
    ids = np.arange(24, dtype=np.int64).reshape(4, 6) * 1000
    np.testing.assert_array_equal(rgb_to_ids(ids_to_rgb(ids.T[::2])), ids.T[::2])
    bgr = ids_to_rgb(ids)[..., ::-1]
    np.testing.assert_array_equal(rgb_to_ids(bgr[..., ::-1]), ids)
    assert rgb_to_ids(ids_to_rgb(np.zeros((0, 4), dtype=np.int32))).shape == (0, 4)


@pytest.mark.parametrize('bad', [-1, 256**3])
def test_ids_beyond_three_bytes_are_rejected(bad):
    with pytest.raises(ValueError, match=str(bad)):
        ids_to_rgb(np.array([[bad]]))


def test_wrong_arrays_are_rejected():
    with pytest.raises(ValueError, match='float64'):
        ids_to_rgb(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r'\(2, 2\)'):
        rgb_to_ids(np.zeros((2, 2), dtype=np.uint8))
    with pytest.raises(ValueError, match='int32'):
        rgb_to_ids(np.zeros((2, 2, 3), dtype=np.int32))


def test_png_round_trip(tmp_path):
    ids = np.random.default_rng(1).integers(0, 256**3, (20, 30))
    Image.fromarray(ids_to_rgb(ids)).save(tmp_path / 'ids.png')
    np.testing.assert_array_equal(read_panoptic_png(str(tmp_path / 'ids.png')), ids)


@pytest.mark.parametrize('mode', ['L', 'P', '1', 'RGBA', 'LA', 'I;16'])
def test_other_pixel_formats_are_rejected(tmp_path, mode):
    path = tmp_path / 'other.png'
    Image.new(mode, (6, 4)).save(path)
    with pytest.raises(DataError, match=f'other.png.*8-bit RGB PNG.*{mode}'):
        read_panoptic_png(str(path))


def test_damaged_files_are_rejected(tmp_path):
    ids = np.random.default_rng(1).integers(0, 256**3, (20, 30))
    buffer = io.BytesIO()
    Image.fromarray(ids_to_rgb(ids)).save(buffer, 'png')
    for name, content in {
        'empty.png': b'',
        'text.png': b'no image',
        'truncated.png': buffer.getvalue()[:-200],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            read_panoptic_png(str(tmp_path / name))
    with pytest.raises(DataError, match='missing.png'):
        read_panoptic_png(str(tmp_path / 'missing.png'))
    Image.new('RGB', (6, 4)).save(tmp_path / 'lossy.png', 'jpeg')
    with pytest.raises(DataError, match='lossy.png.*JPEG'):
        read_panoptic_png(str(tmp_path / 'lossy.png'))


def test_real_png(shared_data: Path):
    ids = read_panoptic_png(str(shared_data / 'odd/panoptic_odd/good_with_void.png'))
    assert ids.shape == (200, 300)
    assert np.unique(ids).tolist() == [0, 1001, 1002, 5555, 70000]
    assert (ids == 70000).sum() == 6400


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
