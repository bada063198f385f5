import json
from pathlib import Path

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from mmmaskdino.datasets.coco_instance import CheckedCocoDataset
from mmmaskdino.datasets.files import DataError

PIPELINE = [
    {'type': 'LoadImageFromFile'},
    {'type': 'mmdet.LoadAnnotations', 'with_bbox': True, 'with_mask': True},
    {'type': 'mmdet.PackDetInputs'},
]


def build(root, classes=('cup', 'cat'), **kwargs) -> CheckedCocoDataset:
    return CheckedCocoDataset(
        ann_file=str(root / 'annotations.json'),
        data_prefix={'img': str(root)},
        metainfo={'classes': classes},
        pipeline=PIPELINE,
        **kwargs,
    )


def test_registered():
    assert DATASETS.get('CheckedCocoDataset') is CheckedCocoDataset


@pytest.mark.parametrize('split', ['train', 'val'])
def test_sound_real_file_gives_what_mmdet_gives(shared_data: Path, logged, split):
    arguments = {
        'data_root': str(shared_data / 'coco_tiny'),
        'ann_file': f'annotations/instances_{split}2017.json',
        'data_prefix': {'img': f'{split}2017/'},
    }
    expected = CocoDataset(**arguments)
    dataset = CheckedCocoDataset(**arguments, pipeline=PIPELINE[:-1], test_mode=split == 'val')
    assert logged == []
    assert len(dataset) == len(expected) == 30
    assert dataset.cat_ids == expected.cat_ids
    content = json.loads((shared_data / 'coco_tiny' / arguments['ann_file']).read_text())
    masks = {annotation['id']: annotation['segmentation'] for annotation in content['annotations']}
    for i in range(30):
        info = dataset.get_data_info(i)
        for instance in info['instances']:
            assert instance['mask'] == masks.pop(instance.pop('annotation_id'))
        assert info == expected.get_data_info(i)
    assert not masks


def test_an_image_of_crowds_alone_has_no_objects(write_dataset, instance_content):
    first = instance_content['annotations'][0]
    other = next(image['id'] for image in instance_content['images'] if image['id'] != first['image_id'])
    instance_content['annotations'].append(dict(first, id=99, image_id=other))
    first['iscrowd'] = 1
    dataset = build(write_dataset(instance_content), filter_cfg=dict(filter_empty_gt=True))
    assert [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))] == [other]


def test_masks_labels_and_crowds(write_dataset, instance_content):
    sample = build(write_dataset(instance_content))[0]['data_samples']
    assert sample.gt_instances.labels.tolist() == [0]
    assert sample.gt_instances.bboxes.tensor.tolist() == [[2, 3, 12, 11]]
    (mask,) = sample.gt_instances.masks.masks
    assert mask.sum() == 80
    assert mask[3:11, 2:12].all()
    assert sample.ignored_instances.labels.tolist() == [1]
    np.testing.assert_array_equal(sample.ignored_instances.masks.masks[0, 0], np.ones(30))


def test_all_problems_are_told_at_once(write_dataset, instance_content):
    first, second = instance_content['annotations']
    first['segmentation'] = [[1, 2, 3, 4]]
    second['image_id'] = 1
    instance_content['images'].append({'id': 3, 'file_name': 'c.jpg', 'width': 30, 'height': 1})
    with pytest.raises(DataError, match=r'annotations\.json: 3 problem') as caught:
        build(write_dataset(instance_content))
    for part in ('three points', 'no image has this id', 'c.jpg'):
        assert part in str(caught.value)


def test_classes_must_fit_the_file(write_dataset, instance_content):
    root = write_dataset(instance_content)
    with pytest.raises(DataError, match="'horse'"):
        build(root, classes=('cup', 'cat', 'horse'))
    dataset = build(root, classes=('cat', 'cup'))
    assert dataset.cat_ids == [3, 5]
    assert [instance['bbox_label'] for instance in dataset.get_data_info(0)['instances']] == [1, 0]


def test_some_classes_of_a_file(write_dataset, instance_content, logged):
    root = write_dataset(instance_content)
    with pytest.raises(DataError, match="'cat'.*drop_unlisted_categories=True"):
        build(root, classes=('cup',))
    dataset = build(root, classes=('cup',), drop_unlisted_categories=True)
    assert [instance['bbox_label'] for instance in dataset.get_data_info(0)['instances']] == [0]
    assert "'cat' (id 3), 1 annotations" in logged[0]


def test_listed_categories_without_annotations_need_no_class(write_dataset, instance_content, logged):
    instance_content['categories'].insert(0, {'id': 0, 'name': 'everything'})
    assert build(write_dataset(instance_content)).cat_ids == [5, 3]
    assert logged == []


def test_segmentations_are_needed_only_for_masks(write_dataset, instance_content):
    for annotation in instance_content['annotations']:
        del annotation['segmentation']
    root = write_dataset(instance_content)
    with pytest.raises(DataError, match='2 problem'):
        build(root)
    boxes_only = [PIPELINE[0], {'type': 'mmdet.LoadAnnotations', 'with_bbox': True}, PIPELINE[2]]
    arguments = {'ann_file': str(root / 'annotations.json'), 'metainfo': {'classes': ('cup', 'cat')}}
    dataset = CheckedCocoDataset(data_prefix={'img': str(root)}, pipeline=boxes_only, **arguments)
    assert len(dataset[0]['data_samples'].gt_instances) == 1


def test_in_tests_the_file_says_whether_it_has_masks(write_dataset, instance_content, logged):
    def build_test_set(pipeline: list[dict]) -> CheckedCocoDataset:
        root = write_dataset(instance_content)
        arguments = {'ann_file': str(root / 'annotations.json'), 'metainfo': {'classes': ('cup', 'cat')}}
        return CheckedCocoDataset(data_prefix={'img': str(root)}, pipeline=pipeline, test_mode=True, **arguments)

    first, second = instance_content['annotations']
    first['segmentation'] = []
    with pytest.raises(DataError, match='annotation 1 .*masks are needed'):
        build_test_set(PIPELINE[::2])
    boxes_only = {'type': 'mmdet.LoadAnnotations', 'with_bbox': True}
    build_test_set([PIPELINE[0], boxes_only, PIPELINE[2]])
    assert logged == []
    del second['segmentation']
    build_test_set(PIPELINE[::2])
    assert 'no segmentation at all' in logged[0]


def test_boxes_alone_where_some_objects_have_masks(write_dataset, instance_content):
    """As the detection configs set it for validation data, whose pipeline loads no annotations."""
    instance_content['annotations'][0]['segmentation'] = []
    root = write_dataset(instance_content)
    arguments = {'ann_file': str(root / 'annotations.json'), 'metainfo': {'classes': ('cup', 'cat')}}
    arguments.update(data_prefix={'img': str(root)}, pipeline=PIPELINE[::2], test_mode=True)
    assert len(CheckedCocoDataset(with_masks=False, **arguments)) == 2
    with pytest.raises(DataError, match='annotation 1 .*masks are needed'):
        CheckedCocoDataset(with_masks=True, **arguments)


def test_test_set_without_annotations(write_dataset, instance_content, logged):
    del instance_content['annotations']
    root = write_dataset(instance_content)
    with pytest.raises(DataError, match="no key 'annotations'"):
        build(root)
    assert len(build(root, test_mode=True)) == 2
    assert len(logged) == 1
