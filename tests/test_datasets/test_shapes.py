import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from pycocotools import mask as coco_mask

from mmmaskdino.datasets import read_panoptic_png
from mmmaskdino.datasets.shapes import METAINFO, make_shapes_dataset

NUM_TRAIN, NUM_VAL, SIZE = 12, 4, 64


def make(out, **changes):
    parameters = dict(num_train=NUM_TRAIN, num_val=NUM_VAL, size=SIZE, seed=3, progress=False) | changes
    return make_shapes_dataset(out, **parameters)


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in Path(root).rglob('*') if p.is_file()}


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return make(tmp_path_factory.mktemp('shapes') / 'data')


def load(dataset, kind, split):
    return json.loads((dataset / f'annotations/{kind}_{split}.json').read_text())


@pytest.mark.parametrize(('split', 'count'), [('train', NUM_TRAIN), ('val', NUM_VAL)])
def test_layout(dataset, split, count):
    names = [f'{i:06d}' for i in range(count)]
    assert sorted(p.name for p in (dataset / split).iterdir()) == [f'{name}.jpg' for name in names]
    pngs = dataset / f'annotations/panoptic_{split}'
    assert sorted(p.name for p in pngs.iterdir()) == [f'{name}.png' for name in names]
    for kind in ('instances', 'panoptic'):
        images = load(dataset, kind, split)['images']
        assert [image['file_name'] for image in images] == [f'{name}.jpg' for name in names]
        assert {(image['height'], image['width']) for image in images} == {(SIZE, SIZE)}
    assert cv2.imread(str(dataset / split / '000000.jpg')).shape == (SIZE, SIZE, 3)


def test_categories_are_the_classes_in_order(dataset):
    categories = load(dataset, 'panoptic', 'train')['categories']
    assert [c['name'] for c in categories] == list(METAINFO['classes'])
    assert [c['id'] for c in categories] == list(range(1, 11))
    assert [c['name'] for c in categories if c['isthing']] == list(METAINFO['thing_classes'])
    assert [c['name'] for c in load(dataset, 'instances', 'val')['categories']] == list(METAINFO['thing_classes'])
    assert METAINFO['classes'] == METAINFO['thing_classes'] + METAINFO['stuff_classes']
    assert len(set(METAINFO['palette'])) == len(METAINFO['classes'])


def test_config_lists_the_same_classes(project_root):
    config = Config.fromfile(project_root / 'configs/_base_/datasets/shapes_panoptic.py')
    assert {k: list(v) for k, v in config.metainfo.items()} == {k: list(v) for k, v in METAINFO.items()}


def test_png_json_and_masks_agree(dataset):
    panoptic, instances = load(dataset, 'panoptic', 'train'), load(dataset, 'instances', 'train')
    for annotation in panoptic['annotations']:
        ids = read_panoptic_png(str(dataset / 'annotations/panoptic_train' / annotation['file_name']))
        segments = {s['id']: s for s in annotation['segments_info']}
        assert set(np.unique(ids)) - {0} == set(segments)
        for segment_id, segment in segments.items():
            rows, columns = np.nonzero(ids == segment_id)
            x, y = columns.min(), rows.min()
            assert segment['bbox'] == [x, y, columns.max() + 1 - x, rows.max() + 1 - y]
            assert segment['area'] == len(rows)
        things = [s for s in segments.values() if s['category_id'] <= 6]
        masks = [a for a in instances['annotations'] if a['image_id'] == annotation['image_id']]
        for mask, thing in zip(masks, things, strict=True):
            np.testing.assert_array_equal(coco_mask.decode(mask['segmentation']), ids == thing['id'])
            assert [mask[k] for k in ('category_id', 'area', 'bbox')] == [
                thing[k] for k in ('category_id', 'area', 'bbox')
            ]


def test_segment_ids_and_annotation_ids_are_distinct(dataset):
    segments = [s['id'] for a in load(dataset, 'panoptic', 'train')['annotations'] for s in a['segments_info']]
    assert len(set(segments)) == len(segments)
    ids = [a['id'] for a in load(dataset, 'instances', 'train')['annotations']]
    assert ids == list(range(1, len(ids) + 1))


def test_seeded(dataset, tmp_path):
    assert contents(make(tmp_path / 'same')) == contents(dataset)
    other = contents(make(tmp_path / 'other', seed=4))
    assert other['train/000000.jpg'] != contents(dataset)['train/000000.jpg']


def test_more_images_keep_the_first_ones(dataset, tmp_path):
    more = contents(make(tmp_path / 'more', num_train=NUM_TRAIN + 2, num_val=0))
    images = {k: v for k, v in contents(dataset).items() if k.startswith('train/')}
    assert len(images) == NUM_TRAIN
    assert all(more[k] == v for k, v in images.items())


def test_splits_differ(dataset):
    files = contents(dataset)
    assert files['train/000000.jpg'] != files['val/000000.jpg']


def test_complete_dataset_is_reused(dataset):
    before = (dataset / 'train/000000.jpg').stat().st_mtime_ns
    assert make(dataset) == dataset
    assert (dataset / 'train/000000.jpg').stat().st_mtime_ns == before


def test_other_parameters_are_rejected_unless_overwritten(tmp_path):
    out = make(tmp_path / 'data', num_train=1, num_val=1)
    with pytest.raises(ValueError, match='data holds a shapes dataset with num_train 1 instead of 2'):
        make(out, num_train=2, num_val=1)
    make(out, num_train=2, num_val=1, overwrite=True)
    assert len(list((out / 'train').iterdir())) == 2
    assert [p.name for p in tmp_path.iterdir()] == ['data']


def test_other_files_are_never_replaced(tmp_path):
    (tmp_path / 'thesis.txt').write_text('years of work')
    with pytest.raises(ValueError, match='is not a generated shapes dataset'):
        make(tmp_path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ['thesis.txt']


def test_interruption_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr('mmmaskdino.datasets.shapes._write_json', fail)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / 'data', num_train=1, num_val=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('changes', 'message'),
    [(dict(size=31), 'size >= 32, got 31'), (dict(seed=-1), 'seed >= 0'), (dict(num_train=-1), 'num_train')],
)
def test_parameters_out_of_range(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path / 'data', **changes)
    assert list(tmp_path.iterdir()) == []
