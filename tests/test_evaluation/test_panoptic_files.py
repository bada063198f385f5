import json

import numpy as np
import pytest
from PIL import Image

from mmmaskdino.datasets import DataError, ids_to_rgb
from mmmaskdino.datasets.panoptic_png import MAX_SEGMENT_ID
from mmmaskdino.evaluation.panoptic_files import PanopticFiles, PanopticWriter, read_categories
from mmmaskdino.evaluation.panoptic_quality import PanopticImage

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


@pytest.mark.parametrize('key', ['file_name', 'segments_info'])
def test_missing_keys_are_named(write, tmp_path, key):
    reader = write()
    del reader.annotations[5][key]
    with pytest.raises(DataError, match=rf"pan\.json: image 5: expected the key '{key}'"):
        reader.load(5)


def test_smallest_and_largest_id(write):
    segments = [dict(id=1, category_id=10), dict(id=MAX_SEGMENT_ID, category_id=20)]
    assert write(segments_info=segments).load(5).ids.tolist() == [1, MAX_SEGMENT_ID]


def test_an_image_without_segments(write):
    image = write(segments_info=[]).load(5)
    assert (image.ids.dtype, image.labels.dtype, image.is_crowd.dtype) == (np.int64, np.int64, bool)
    assert len(image.ids) == len(image.labels) == len(image.is_crowd) == 0


@pytest.fixture
def make_writer(tmp_path):
    """Makes a writer for the given entries of 'images'."""

    def _make_writer(*images):
        (tmp_path / 'ann.json').write_text(json.dumps(dict(images=images)))
        return PanopticWriter(str(tmp_path / 'out'), str(tmp_path / 'ann.json'), [10, 20])

    return _make_writer


def test_writer_names_what_is_wrong(make_writer):
    with pytest.raises(DataError, match=r"ann\.json: an image: expected the key 'file_name'"):
        make_writer(dict(id=1))
    with pytest.raises(DataError, match=r"ann\.json: an image: expected the key 'id'"):
        make_writer(dict(file_name='1.jpg'))
    image = PanopticImage(np.ones((1, 1), np.int32), np.array([1]), np.array([0]), np.array([False]), 'test')
    writer = make_writer(dict(id=1, file_name='1.jpg'))
    with pytest.raises(DataError, match=r'ann\.json: no image has the id 2'):
        writer.write(2, image)
    with pytest.raises(ValueError):
        writer.write(1, image._replace(labels=np.array([0, 1])))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"annotations": [', 'not a valid json file'),
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


def test_ids_are_matched_as_in_the_datasets(tmp_path):
    path = tmp_path / 'a.json'
    annotation = dict(image_id='7', file_name='7.png', segments_info=[dict(id=1, category_id=3)])
    categories = [dict(id=0, name='cup', isthing=1), dict(id=3, name='cup', isthing=1)]
    images = [dict(id=7, file_name='7.jpg')]
    path.write_text(json.dumps(dict(images=images, annotations=[annotation], categories=categories)))
    assert list(PanopticFiles(str(path), str(tmp_path), {}).annotations) == [7]
    assert [category['id'] for category in read_categories(str(path))] == [3]


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
