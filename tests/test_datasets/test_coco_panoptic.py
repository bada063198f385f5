from pathlib import Path

import numpy as np
import pytest
from mmdet.datasets import CocoPanopticDataset
from mmdet.registry import DATASETS

from mmmaskdino.datasets.coco_panoptic import CheckedCocoPanopticDataset
from mmmaskdino.datasets.files import DataError

METAINFO = {'classes': ('cup', 'cat', 'wall'), 'thing_classes': ('cup', 'cat'), 'stuff_classes': ('wall',)}
PIPELINE = [
    {'type': 'LoadImageFromFile'},
    {'type': 'mmdet.LoadCocoPanopticAnnotations'},
    {'type': 'mmdet.PackDetInputs'},
]


def build(root, **kwargs) -> CheckedCocoPanopticDataset:
    arguments = {'data_prefix': {'img': str(root), 'seg': str(root)}, 'metainfo': METAINFO, 'pipeline': PIPELINE}
    return CheckedCocoPanopticDataset(ann_file=str(root / 'annotations.json'), **{**arguments, **kwargs})


def test_registered():
    assert DATASETS.get('CheckedCocoPanopticDataset') is CheckedCocoPanopticDataset


@pytest.mark.parametrize('split', ['train', 'val'])
def test_sound_real_file_gives_what_mmdet_gives(shared_data: Path, logged, split):
    arguments = {
        'data_root': str(shared_data / 'coco_tiny'),
        'ann_file': f'annotations/panoptic_{split}2017.json',
        'data_prefix': {'img': f'{split}2017/', 'seg': f'annotations/panoptic_{split}2017/'},
    }
    expected = CocoPanopticDataset(**arguments)
    dataset = CheckedCocoPanopticDataset(**arguments)
    assert logged == []
    assert len(dataset) == 30
    assert [dataset.get_data_info(i) for i in range(30)] == [expected.get_data_info(i) for i in range(30)]


def test_labels_masks_and_the_png_of_the_entry(write_dataset, panoptic_content, panoptic_ids):
    dataset = build(write_dataset(panoptic_content))
    assert dataset.get_data_info(0)['seg_map_path'].endswith('a.png')  # the image is a.jpeg
    sample = dataset[0]['data_samples']
    assert sample.gt_instances.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(sample.gt_instances.masks.masks, [panoptic_ids == 300, panoptic_ids == 302])
    labels = sample.gt_sem_seg.sem_seg[0].numpy()
    assert np.unique(labels[panoptic_ids == 70000]).tolist() == [2]
    assert np.unique(labels[panoptic_ids == 301]).tolist() == [0]
    assert np.unique(labels[panoptic_ids == 0]).tolist() == [255]


def test_all_problems_are_told_at_once(write_dataset, panoptic_content):
    panoptic_content['annotations'][0]['segments_info'][0]['category_id'] = 777
    root = write_dataset(panoptic_content)
    (root / 'a.png').unlink()
    (root / 'a.jpeg').unlink()
    with pytest.raises(DataError, match=r'annotations\.json: 3 problem') as caught:
        build(root)
    for part in ('got 777', f'no file at {root}/a.png', f'no file at {root}/a.jpeg'):
        assert part in str(caught.value)


def test_segments_info_missing(write_dataset, panoptic_content):
    del panoptic_content['annotations'][0]['segments_info']
    with pytest.raises(DataError, match=r"image 7 \(a\.png\): the key\(s\) \['segments_info'\] are missing"):
        build(write_dataset(panoptic_content))


def test_metainfo_must_fit_the_file(write_dataset, panoptic_content):
    root = write_dataset(panoptic_content)
    with pytest.raises(DataError, match='thing_classes followed by'):
        build(root, metainfo={'classes': METAINFO['classes']})
    with pytest.raises(DataError, match='isthing=1, but is in metainfo.stuff_classes'):
        build(root, metainfo={**METAINFO, 'thing_classes': ('cup',), 'stuff_classes': ('cat', 'wall')})
    with pytest.raises(DataError, match='among the categories of the file'):
        build(root, metainfo=None)


def test_folder_of_the_pngs_is_needed(write_dataset, panoptic_content):
    root = write_dataset(panoptic_content)
    with pytest.raises(DataError, match="data_prefix needs the key 'seg'"):
        build(root, data_prefix={'img': str(root)})


def test_pixels_of_a_segment_that_claims_none_are_an_error(write_dataset, panoptic_content, logged):
    panoptic_content['annotations'][0]['segments_info'][1]['area'] = 0
    dataset = build(write_dataset(panoptic_content))
    assert 'segment 300' in logged[0]
    with pytest.raises(DataError, match=r'only in the PNG \[300\]'):
        dataset[0]


def test_test_set_without_annotations(write_dataset, panoptic_content, logged):
    del panoptic_content['annotations']
    root = write_dataset(panoptic_content)
    dataset = build(root, test_mode=True, data_prefix={'img': str(root)})
    assert dataset.get_data_info(0)['seg_map_path'] is None
    assert len(logged) == 1
