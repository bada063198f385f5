import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmmaskdino.datasets import ids_to_rgb

IMAGE_SIZE = (30, 20)  # width, height
INSTANCE_CONTENT = {
    'images': [
        {'id': 7, 'file_name': 'a.jpg', 'width': 30, 'height': 20},
        {'id': 9, 'file_name': 'deep/b.jpg', 'width': 30, 'height': 20},
    ],
    'annotations': [
        {
            'id': 1,
            'image_id': 7,
            'category_id': 5,
            'bbox': [2, 3, 10, 8],
            'area': 80,
            'iscrowd': 0,
            'segmentation': [[2, 3, 12, 3, 12, 11, 2, 11]],
        },
        {
            'id': 2,
            'image_id': 7,
            'category_id': 3,
            'bbox': [0, 0, 30, 1],
            'area': 30,
            'iscrowd': 1,
            'segmentation': {'size': [20, 30], 'counts': [0] + [1, 19] * 30},
        },
    ],
    'categories': [{'id': 5, 'name': 'cup'}, {'id': 3, 'name': 'cat'}],
}
PANOPTIC_CONTENT = {
    'images': [{'id': 7, 'file_name': 'a.jpeg', 'width': 30, 'height': 20}],
    'annotations': [
        {
            'image_id': 7,
            'file_name': 'a.png',
            'segments_info': [
                {'id': 70000, 'category_id': 90, 'iscrowd': 0, 'bbox': [0, 0, 30, 10], 'area': 200},
                {'id': 300, 'category_id': 5, 'iscrowd': 0, 'bbox': [10, 2, 10, 5], 'area': 50},
                {'id': 301, 'category_id': 5, 'iscrowd': 1, 'bbox': [20, 2, 5, 5], 'area': 25},
                {'id': 302, 'category_id': 3, 'iscrowd': 0, 'bbox': [0, 2, 5, 5], 'area': 25},
            ],
        }
    ],
    'categories': [
        {'id': 5, 'name': 'cup', 'isthing': 1},
        {'id': 3, 'name': 'cat', 'isthing': 1},
        {'id': 90, 'name': 'wall', 'isthing': 0},
    ],
}


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings that annotation files gave rise to."""
    messages = []
    monkeypatch.setattr(
        'mmmaskdino.datasets.annotation_report.print_log', lambda message, **kwargs: messages.append(message)
    )
    return messages


@pytest.fixture
def instance_content() -> dict:
    """A sound COCO instance file: two images, the second without objects; an object and a crowd."""
    return copy.deepcopy(INSTANCE_CONTENT)


@pytest.fixture
def panoptic_content() -> dict:
    """A sound COCO panoptic file: an image with a stuff region, a crowd and two things; the lower half is void."""
    return copy.deepcopy(PANOPTIC_CONTENT)


@pytest.fixture
def panoptic_ids() -> np.ndarray:
    """The segment ids of the image in `panoptic_content`, (h, w)."""
    ids = np.zeros(IMAGE_SIZE[::-1], dtype=np.int32)
    for segment in PANOPTIC_CONTENT['annotations'][0]['segments_info']:
        x, y, width, height = segment['bbox']
        ids[y : y + height, x : x + width] = segment['id']
    return ids


@pytest.fixture
def write_dataset(tmp_path: Path, panoptic_ids: np.ndarray) -> Callable[[dict], Path]:
    """Writes images, panoptic PNG and the given annotations to a folder; the file is `annotations.json` there."""

    def write(content: dict) -> Path:
        for name in ('a.jpg', 'a.jpeg', 'deep/b.jpg'):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            Image.new('RGB', IMAGE_SIZE, (200, 30, 60)).save(tmp_path / name)
        Image.fromarray(ids_to_rgb(panoptic_ids)).save(tmp_path / 'a.png')
        (tmp_path / 'annotations.json').write_text(json.dumps(content))
        return tmp_path

    return write
