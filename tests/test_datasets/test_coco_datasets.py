"""The checked datasets."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmdet.datasets import CocoDataset, CocoPanopticDataset
from mmdet.registry import DATASETS
from PIL import Image

from mmmaskdino.datasets import CheckedCityscapesPanopticDataset, CheckedLVISDataset, DataError, ids_to_rgb
from mmmaskdino.datasets.coco_datasets import CheckedCocoDataset, CheckedCocoPanopticDataset

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


METAINFO = {'classes': ('cup', 'cat', 'wall'), 'thing_classes': ('cup', 'cat'), 'stuff_classes': ('wall',)}
PANOPTIC_PIPELINE = [
    {'type': 'LoadImageFromFile'},
    {'type': 'mmdet.LoadCocoPanopticAnnotations'},
    {'type': 'mmdet.PackDetInputs'},
]


def build_panoptic(root, **kwargs) -> CheckedCocoPanopticDataset:
    arguments = {
        'data_prefix': {'img': str(root), 'seg': str(root)},
        'metainfo': METAINFO,
        'pipeline': PANOPTIC_PIPELINE,
    }
    return CheckedCocoPanopticDataset(ann_file=str(root / 'annotations.json'), **{**arguments, **kwargs})


def test_registered_panoptic():
    assert DATASETS.get('CheckedCocoPanopticDataset') is CheckedCocoPanopticDataset


@pytest.mark.parametrize('split', ['train', 'val'])
def test_sound_real_file_gives_what_mmdet_gives_panoptic(shared_data: Path, logged, split):
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
    dataset = build_panoptic(write_dataset(panoptic_content))
    assert dataset.get_data_info(0)['seg_map_path'].endswith('a.png')  # the image is a.jpeg
    sample = dataset[0]['data_samples']
    assert sample.gt_instances.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(sample.gt_instances.masks.masks, [panoptic_ids == 300, panoptic_ids == 302])
    labels = sample.gt_sem_seg.sem_seg[0].numpy()
    assert np.unique(labels[panoptic_ids == 70000]).tolist() == [2]
    assert np.unique(labels[panoptic_ids == 301]).tolist() == [0]
    assert np.unique(labels[panoptic_ids == 0]).tolist() == [255]


def test_all_problems_are_told_at_once_panoptic(write_dataset, panoptic_content):
    panoptic_content['annotations'][0]['segments_info'][0]['category_id'] = 777
    root = write_dataset(panoptic_content)
    (root / 'a.png').unlink()
    (root / 'a.jpeg').unlink()
    with pytest.raises(DataError, match=r'annotations\.json: 3 problem') as caught:
        build_panoptic(root)
    for part in ('got 777', f'no file at {root}/a.png', f'no file at {root}/a.jpeg'):
        assert part in str(caught.value)


def test_segments_info_missing(write_dataset, panoptic_content):
    del panoptic_content['annotations'][0]['segments_info']
    with pytest.raises(DataError, match=r"image 7 \(a\.png\): the key\(s\) \['segments_info'\] are missing"):
        build_panoptic(write_dataset(panoptic_content))


def test_metainfo_must_fit_the_file(write_dataset, panoptic_content):
    root = write_dataset(panoptic_content)
    with pytest.raises(DataError, match='thing_classes followed by'):
        build_panoptic(root, metainfo={'classes': METAINFO['classes']})
    with pytest.raises(DataError, match='isthing=1, but is in metainfo.stuff_classes'):
        build_panoptic(root, metainfo={**METAINFO, 'thing_classes': ('cup',), 'stuff_classes': ('cat', 'wall')})
    with pytest.raises(DataError, match='among the categories of the file'):
        build_panoptic(root, metainfo=None)


def test_folder_of_the_pngs_is_needed(write_dataset, panoptic_content):
    root = write_dataset(panoptic_content)
    with pytest.raises(DataError, match="data_prefix needs the key 'seg'"):
        build_panoptic(root, data_prefix={'img': str(root)})


def test_pixels_of_a_segment_that_claims_none_are_an_error(write_dataset, panoptic_content, logged):
    panoptic_content['annotations'][0]['segments_info'][1]['area'] = 0
    dataset = build_panoptic(write_dataset(panoptic_content))
    assert 'segment 300' in logged[0]
    with pytest.raises(DataError, match=r'a\.png: the PNG has pixels of segments .*: \[300\]; .*add_boxes'):
        dataset[0]


def test_test_set_without_annotations_panoptic(write_dataset, panoptic_content, logged):
    del panoptic_content['annotations']
    root = write_dataset(panoptic_content)
    dataset = build_panoptic(root, test_mode=True, data_prefix={'img': str(root)})
    assert dataset.get_data_info(0)['seg_map_path'] is None
    assert len(logged) == 1


NAMES = ('CheckedADE20KInstanceDataset', 'CheckedADE20KPanopticDataset')
CITYSCAPES = ('CheckedCityscapesInstanceDataset', 'CheckedCityscapesPanopticDataset')


@pytest.fixture(autouse=True)
def _scope(mmdet_scope):
    """As in a run."""


@pytest.mark.parametrize(
    ('name', 'num_classes', 'num_things'),
    [
        (NAMES[0], 100, 100),
        (NAMES[1], 150, 100),
        (CITYSCAPES[0], 8, 8),
        (CITYSCAPES[1], 19, 8),
        ('CheckedLVISDataset', 1203, 1203),
    ],
)
def test_classes(name, num_classes, num_things):
    metainfo = DATASETS.get(name).METAINFO
    classes = metainfo['classes']
    assert len(classes) == len(set(classes)) == len(metainfo.get('palette', classes)) == num_classes
    things = metainfo.get('thing_classes', classes)
    assert len(things) == num_things and tuple(things) + tuple(metainfo.get('stuff_classes', ())) == tuple(classes)


def test_cityscapes_panoptic_file(tmp_path):
    """As cityscapesscripts writes it: ids that are names, file names that do not exist, stuff before things."""
    image_id = 'aachen_000000_000019'
    names = [*CheckedCityscapesPanopticDataset.METAINFO['stuff_classes']]
    names += CheckedCityscapesPanopticDataset.METAINFO['thing_classes']
    categories = [dict(id=7 + i, name=name, isthing=int(i >= 11)) for i, name in enumerate(names)]
    car, road = 7 + names.index('car'), 7 + names.index('road')
    ids = np.zeros((8, 16), np.int32)
    ids[4:], ids[4:, :4] = road, 26001
    segments = [
        dict(id=road, category_id=road, iscrowd=0, bbox=[0, 4, 16, 4], area=48),
        dict(id=26001, category_id=car, iscrowd=0, bbox=[0, 4, 4, 4], area=16),
    ]
    png = f'{image_id}_gtFine_panoptic.png'
    content = dict(
        images=[dict(id=image_id, file_name=f'{image_id}_gtFine_leftImg8bit.png', height=8, width=16)],
        annotations=[dict(image_id=image_id, file_name=png, segments_info=segments)],
        categories=categories,
    )
    (tmp_path / 'aachen').mkdir()
    Image.new('RGB', (16, 8)).save(tmp_path / 'aachen' / f'{image_id}_leftImg8bit.png')
    Image.fromarray(ids_to_rgb(ids)).save(tmp_path / png)
    (tmp_path / 'pan.json').write_text(json.dumps(content))
    dataset = CheckedCityscapesPanopticDataset(
        data_root=str(tmp_path),
        ann_file='pan.json',
        data_prefix=dict(img='', seg=''),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadCocoPanopticAnnotations')],
    )
    data = dataset[0]
    classes = dataset.metainfo['classes']
    assert [classes[label] for label in data['gt_bboxes_labels']] == ['car']
    assert classes[data['gt_seg_map'][5, 10]] == 'road' and classes[data['gt_seg_map'][5, 1]] == 'car'
    assert data['gt_seg_map'][0, 0] == 255


def test_lvis_file(tmp_path):
    """As LVIS writes it: addresses in place of file names, no word about crowds, images of two folders."""
    classes = CheckedLVISDataset.METAINFO['classes']
    polygon = [[2, 2, 10, 2, 10, 6, 2, 6]]
    images = [
        dict(id=i, coco_url=f'http://images.cocodataset.org/{folder}/{i:012}.jpg', height=8, width=16)
        for i, folder in ((9, 'train2017'), (25, 'val2017'))
    ]
    annotations = [
        dict(id=1, image_id=25, category_id=5, segmentation=polygon, bbox=[2, 2, 8, 4], area=32),
        dict(id=2, image_id=9, category_id=1203, segmentation=polygon, bbox=[2, 2, 8, 4], area=32),
    ]
    categories = [dict(id=i, name=name, frequency='r') for i, name in enumerate(classes, 1)]
    (tmp_path / 'lvis.json').write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    for image in images:
        path = tmp_path.joinpath(*image['coco_url'].split('/')[-2:])
        path.parent.mkdir()
        Image.new('RGB', (16, 8)).save(path)
    steps = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
    dataset = CheckedLVISDataset(
        data_root=str(tmp_path), ann_file='lvis.json', data_prefix=dict(img=''), pipeline=steps, test_mode=True
    )
    loaded = [dataset[i] for i in range(2)]
    assert [classes[data['gt_bboxes_labels'][0]] for data in loaded] == [classes[1202], classes[4]]
    assert all(data['gt_masks'].masks[0].sum() > 0 and data['img'].shape == (8, 16, 3) for data in loaded)


def test_lvis_images_without_address(tmp_path):
    """They have their file names; and each missing file is a problem of its own."""
    classes = CheckedLVISDataset.METAINFO['classes']
    images = [dict(id=i, file_name=f'train/{i}.jpg', height=8, width=16) for i in (1, 2)]
    categories = [dict(id=i, name=name) for i, name in enumerate(classes, 1)]
    content = dict(images=images, annotations=[], categories=categories)
    (tmp_path / 'lvis.json').write_text(json.dumps(content))

    def build_lvis():
        return CheckedLVISDataset(
            data_root=str(tmp_path), ann_file='lvis.json', data_prefix=dict(img=''), test_mode=True
        )

    with pytest.raises(DataError, match=r'2 problem\(s\)') as caught:
        build_lvis()
    assert all(f'no file at {tmp_path}/train/{i}.jpg' in str(caught.value) for i in (1, 2))
    (tmp_path / 'train').mkdir()
    for i in (1, 2):
        Image.new('RGB', (16, 8)).save(tmp_path / 'train' / f'{i}.jpg')
    assert [build_lvis().get_data_info(i)['img_path'] for i in (0, 1)] == [f'{tmp_path}/train/{i}.jpg' for i in (1, 2)]
