import json

import numpy as np
import pytest
from mmdet.registry import DATASETS
from PIL import Image

from mmmaskdino.datasets import CheckedCityscapesPanopticDataset, CheckedLVISDataset, DataError, ids_to_rgb

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

    def build():
        return CheckedLVISDataset(
            data_root=str(tmp_path), ann_file='lvis.json', data_prefix=dict(img=''), test_mode=True
        )

    with pytest.raises(DataError, match=r'2 problem\(s\)') as caught:
        build()
    assert all(f'no file at {tmp_path}/train/{i}.jpg' in str(caught.value) for i in (1, 2))
    (tmp_path / 'train').mkdir()
    for i in (1, 2):
        Image.new('RGB', (16, 8)).save(tmp_path / 'train' / f'{i}.jpg')
    assert [build().get_data_info(i)['img_path'] for i in (0, 1)] == [f'{tmp_path}/train/{i}.jpg' for i in (1, 2)]
