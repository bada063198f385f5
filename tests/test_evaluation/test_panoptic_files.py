import json

import numpy as np
import pytest
from PIL import Image

from mmmaskdino.datasets import DataError, ids_to_rgb
from mmmaskdino.evaluation.panoptic_files import PanopticFiles, read_categories

SEGMENTS = [dict(id=7, category_id=20), dict(id=70000, category_id=10, iscrowd=1)]


@pytest.fixture
def write(tmp_path):
    """Writes a json with one 2 x 1 image and returns its reader; keyword arguments replace parts of the annotation."""
    Image.fromarray(ids_to_rgb(np.array([[7, 70000]]))).save(tmp_path / '5.png')

    def _write(**changes):
        annotation = dict(image_id=5, file_name='5.png', segments_info=SEGMENTS) | changes
        (tmp_path / 'pan.json').write_text(json.dumps(dict(annotations=[annotation])))
        return PanopticFiles(str(tmp_path / 'pan.json'), str(tmp_path), {10: 0, 20: 1})

    return _write


def test_load(write, tmp_path):
    image = write().load(5)
    np.testing.assert_array_equal(image.id_map, [[7, 70000]])
    assert image.ids.tolist() == [7, 70000]
    assert image.labels.tolist() == [1, 0]
    assert image.is_crowd.tolist() == [False, True]
    assert image.source == str(tmp_path / '5.png')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(image_id=6), 'no annotation for the image with id 5'),
        (dict(file_name='gone.png'), r'gone\.png'),
        (dict(segments_info=[SEGMENTS[0]] * 2), r'pan\.json: image 5: expected distinct segment ids.*\[7, 7\]'),
        (dict(segments_info=[dict(id=0, category_id=10)]), 'expected distinct segment ids in'),
        (dict(segments_info=[dict(id=7, category_id=99)]), r'image 5, segment 7: category 99 is not among'),
        (dict(segments_info=[dict(id=7)]), "image 5, segment 7.*'category_id'"),
        (dict(segments_info=[dict(category_id=10)]), "image 5.*'id'"),
    ],
)
def test_bad_annotations_are_named(write, changes, message):
    with pytest.raises(DataError, match=message):
        write(**changes).load(5)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"annotations": [', 'not a json file'),
        ('[]', "'annotations'"),
        ('{"images": []}', "'annotations'"),
        ('{"annotations": [{"image_id": 1}, {"image_id": 1}]}', 'image 1 has two annotations'),
        ('{"annotations": [{"id": 1}]}', "'image_id'"),
    ],
)
def test_bad_json_is_named(tmp_path, content, message):
    path = tmp_path / 'bad.json'
    path.write_text(content)
    with pytest.raises(DataError, match=rf'bad\.json.*{message}'):
        PanopticFiles(str(path), str(tmp_path), {})


@pytest.mark.parametrize(
    ('categories', 'message'),
    [
        ([dict(id=1, name='a')], "'isthing'"),
        ([dict(id=1, name='a', isthing=1), dict(id=1, name='b', isthing=1)], 'the same id'),
        ([dict(id=1, name='a', isthing=1), dict(id=2, name='a', isthing=1)], 'the same name'),
    ],
)
def test_bad_categories_are_named(tmp_path, categories, message):
    path = tmp_path / 'bad.json'
    path.write_text(json.dumps(dict(categories=categories)))
    with pytest.raises(DataError, match=rf'bad\.json.*{message}'):
        read_categories(str(path))


@pytest.mark.parametrize(
    ('image_id', 'message'),
    [(8, r'panoptic_odd\.json: image 8, segment 1001: category 777'), (11, r'png_greyscale\.png')],
)
def test_odd_files(shared_data, image_id, message):
    odd = PanopticFiles(
        str(shared_data / 'odd/panoptic_odd.json'), str(shared_data / 'odd/panoptic_odd'), {1: 0, 47: 1, 189: 2, 199: 3}
    )
    with pytest.raises(DataError, match=message):
        odd.load(image_id)
