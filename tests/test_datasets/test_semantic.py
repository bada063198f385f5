from copy import deepcopy

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from PIL import Image

from mmmaskdino.datasets import CheckedADE20KDataset, CheckedSegDataset, DataError

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture
def folder(tmp_path):
    for name in ('a', 'deep/b'):
        for kind in ('images', 'labels'):
            (tmp_path / kind / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (30, 20), (200, 30, 60)).save(tmp_path / 'images' / f'{name}.jpg')
        Image.fromarray(np.full((20, 30), 1, np.uint8)).save(tmp_path / 'labels' / f'{name}.png')
    return tmp_path


@pytest.fixture
def build(folder):
    def _build(**changes):
        settings = dict(
            data_root=str(folder),
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            metainfo=dict(classes=('cat', 'dog')),
            pipeline=deepcopy(PIPELINE),
        )
        return CheckedSegDataset(**settings | changes)

    return _build


def test_registered():
    for name in ('CheckedSegDataset', 'CheckedADE20KDataset', 'CheckedCityscapesDataset'):
        assert DATASETS.get(name).__name__ == name


def test_sound_data(build):
    dataset = build()
    assert len(dataset) == 2
    sample = dataset[1]['data_samples']
    assert sample.img_path.endswith('deep/b.jpg') and sample.gt_sem_seg.data.unique().tolist() == [1]


def test_listed_images(build, folder):
    (folder / 'list.txt').write_text('deep/b\n')
    assert len(build(ann_file='list.txt')) == 1
    (folder / 'list.txt').write_text('deep/b\nc\n')
    with pytest.raises(DataError, match=r'list.txt: 2 problem\(s\)\n.*no file at .*c.jpg .*\n.*no file at .*c.png'):
        build(ann_file='list.txt')


def test_missing_label_maps_are_listed(build, folder):
    (folder / 'labels' / 'a.png').unlink()
    (folder / 'labels' / 'deep' / 'b.png').unlink()
    with pytest.raises(DataError, match=r'2 problem\(s\)') as caught:
        build()
    assert 'labels/a.png' in str(caught.value) and 'labels/deep/b.png' in str(caught.value)


def test_images_without_labels_can_be_predicted(build):
    dataset = build(data_prefix=dict(img_path='images'), pipeline=[PIPELINE[0], PIPELINE[2]], test_mode=True)
    assert 'gt_sem_seg' not in dataset[0]['data_samples']


def test_label_maps_without_image_are_told(build, folder, logged):
    (folder / 'images' / 'a.jpg').unlink()
    assert len(build()) == 1
    assert len(logged) == 1 and 'label maps without image are left out: 1 (a.png)' in logged[0]


def test_wrong_folder_and_suffix(build):
    with pytest.raises(DataError, match='imgs: no such folder'):
        build(data_prefix=dict(img_path='imgs', seg_map_path='labels'))
    with pytest.raises(DataError, match='no image with suffix .jpeg'):
        build(img_suffix='.jpeg')


def test_error_in_the_pipeline_names_the_image(build, folder):
    Image.fromarray(np.full((20, 30), 7, np.uint8)).save(folder / 'labels' / 'a.png')
    with pytest.raises(DataError, match=r'image .*a.jpg: .*a.png: labels 7 are no classes; expected 0 to 1'):
        build()[0]


def test_damaged_image(build, folder):
    path = folder / 'images' / 'a.jpg'
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match='a.jpg'):
        build()[0]


def test_subset_of_the_classes(shared_data):
    """mmseg's label_map: other classes are ignored."""
    settings = dict(
        data_root=str(shared_data / 'ade20k_tiny'),
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=deepcopy(PIPELINE),
    )
    everything = CheckedADE20KDataset(**settings)
    some = CheckedADE20KDataset(metainfo=dict(classes=('sky', 'wall')), **settings)
    assert len(everything) == len(some) == 11
    for all_labels, labels in ((a['data_samples'], b['data_samples']) for a, b in zip(everything, some, strict=True)):
        all_labels, labels = all_labels.gt_sem_seg.data, labels.gt_sem_seg.data
        assert (labels == 0).equal(all_labels == 2) and (labels == 1).equal(all_labels == 0)
        assert set(labels.unique().tolist()) <= {0, 1, 255}


def test_images_without_or_with_a_wrong_label_map_are_left_out_on_request(build, folder):
    Image.new('RGB', (30, 20)).save(folder / 'images' / 'alone.jpg')
    list_file = folder / 'left_out.jsonl'
    dataset = build(on_fault='leave_out', left_out_file=str(list_file))
    assert len(dataset) == 2
    Image.fromarray(np.full((20, 30), 200, np.uint8)).save(folder / 'labels' / 'a.png')
    assert {dataset[index]['data_samples'].img_path for index in (0, 1)} == {str(folder / 'images' / 'deep/b.jpg')}
    first, second = list_file.read_text().splitlines()
    assert 'alone.jpg' in first and 'no file at' in first
    assert 'a.jpg' in second and 'labels 200 are no classes' in second


def test_leftovers_are_no_images_and_links_end(build, folder):
    for name in ('images/._a.jpg', 'images/.ipynb_checkpoints/a-checkpoint.jpg', 'images/__MACOSX/a.jpg'):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b'junk')
    (folder / 'images' / 'deep' / 'up').symlink_to(folder / 'images')
    assert len(build()) == 2
