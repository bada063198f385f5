"""Objects as they are loaded."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import RandomResize
from mmdet.datasets.transforms import FilterAnnotations, LoadAnnotations, PackDetInputs, Pad, RandomCrop, RandomFlip
from mmdet.models import DetDataPreprocessor
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.dataset import Compose, pseudo_collate
from PIL import Image
from pycocotools import mask as coco_mask

from mmmaskdino.datasets import LoadCheckedAnnotations, ids_to_rgb
from mmmaskdino.datasets.annotation_loading import LoadCocoPanopticAnnotations
from mmmaskdino.datasets.files import DataError

SQUARE = [2.0, 3.0, 12.5, 3.0, 12.5, 11.0, 2.0, 11.0]


@pytest.fixture
def results():
    bitmap = np.zeros((20, 30), np.uint8, order='F')
    bitmap[5:9, 20:28] = 1
    forms = [[SQUARE], coco_mask.encode(bitmap), dict(size=[20, 30], counts=[0, 20, 580])]
    instances = [
        dict(bbox=[0, 0, 1, 1], bbox_label=label, ignore_flag=int(label == 2), mask=mask, annotation_id=label + 40)
        for label, mask in enumerate(forms)
    ]
    return dict(instances=instances, img_path='a.jpg', ori_shape=(20, 30))


def test_masks_of_all_forms_in_one_file(results):
    loaded = LoadCheckedAnnotations(with_mask=True)(results)
    assert loaded['gt_bboxes_labels'].tolist() == [0, 1, 2]
    assert loaded['gt_ignore_flags'].tolist() == [False, False, True]
    # Boxes are those of the masks, whatever the file says.
    assert loaded['gt_bboxes'].tensor.tolist() == [[2, 3, 12.5, 11], [20, 5, 28, 9], [0, 0, 1, 20]]
    assert loaded['gt_masks'].annotation_ids == [40, 41, 42]
    expected = LoadAnnotations(with_mask=True)(results)['gt_masks'].masks
    np.testing.assert_array_equal(loaded['gt_masks'].masks, expected)


def test_boxes_alone_are_those_of_the_file(results):
    loaded = LoadCheckedAnnotations()(results)
    assert loaded['gt_bboxes'].tensor.tolist() == [[0, 0, 1, 1]] * 3 and 'gt_masks' not in loaded


def test_no_objects(results):
    loaded = LoadCheckedAnnotations(with_mask=True)(dict(results, instances=[]))
    assert len(loaded['gt_masks']) == 0 and loaded['gt_bboxes'].tensor.shape == (0, 4)


def test_faulty_masks_are_named(results):
    results['instances'][1]['mask'] = dict(size=[30, 20], counts=[600])
    with pytest.raises(DataError, match=r'annotation 41: an RLE of the size \[30, 20\]'):
        LoadCheckedAnnotations(with_mask=True)(results)
    results['instances'][1]['mask'] = dict(size=[20, 30], counts=[600])
    with pytest.warns(UserWarning, match='a.jpg: annotation 41 marks no pixel'):
        loaded = LoadCheckedAnnotations(with_mask=True)(results)
    assert loaded['gt_masks'].remaining().tolist() == [True, False, True]


def test_drawing_at_the_size_of_the_file_is_rejected():
    with pytest.raises(ValueError, match='remove poly2mask'):
        LoadCheckedAnnotations(with_mask=True, poly2mask=False)


SEGMENTS = [
    {'id': 70000, 'category': 2, 'is_thing': False},
    {'id': 300, 'category': 0, 'is_thing': True},
    {'id': 301, 'category': 0, 'is_thing': False},  # a crowd
    {'id': 302, 'category': 1, 'is_thing': True},
]


@pytest.fixture
def panoptic_results(tmp_path: Path, panoptic_ids: np.ndarray) -> dict:
    Image.fromarray(ids_to_rgb(panoptic_ids)).save(tmp_path / 'a.png')
    return {
        'img': np.full((20, 30, 3), 7, dtype=np.uint8),
        'img_path': 'a.jpeg',
        'img_shape': (20, 30),
        'ori_shape': (20, 30),
        'seg_map_path': str(tmp_path / 'a.png'),
        'instances': [
            {'bbox': [10, 2, 20, 7], 'bbox_label': 0, 'ignore_flag': 0},
            {'bbox': [0, 2, 5, 7], 'bbox_label': 1, 'ignore_flag': 0},
        ],
        'segments_info': [dict(segment) for segment in SEGMENTS],
    }


def test_everything_equals_the_definition(panoptic_results, panoptic_ids):
    loaded = LoadCocoPanopticAnnotations().transform(panoptic_results)
    assert isinstance(loaded['gt_bboxes'], HorizontalBoxes)
    assert loaded['gt_bboxes'].tensor.tolist() == [[10, 2, 20, 7], [0, 2, 5, 7]]
    assert loaded['gt_bboxes_labels'].tolist() == [0, 1]
    assert loaded['gt_ignore_flags'].tolist() == [False, False]
    masks = loaded['gt_masks'].masks
    assert masks.dtype == np.uint8
    np.testing.assert_array_equal(masks, np.stack([panoptic_ids == 300, panoptic_ids == 302]))
    expected = np.full((20, 30), 255)
    for segment in SEGMENTS:
        expected[panoptic_ids == segment['id']] = segment['category']
    assert loaded['gt_seg_map'].dtype == np.uint8
    np.testing.assert_array_equal(loaded['gt_seg_map'], expected)
    assert loaded['ignore_index'] == 255


def test_real_image_with_many_segments(shared_data: Path):
    from mmmaskdino.datasets import CheckedCocoPanopticDataset, read_panoptic_png

    dataset = CheckedCocoPanopticDataset(
        data_root=str(shared_data / 'coco_tiny'),
        ann_file='annotations/panoptic_val2017.json',
        data_prefix={'img': 'val2017/', 'seg': 'annotations/panoptic_val2017/'},
        pipeline=[{'type': 'LoadImageFromFile'}, {'type': LoadCocoPanopticAnnotations}],
    )
    for index in range(0, len(dataset), 10):
        loaded = dataset[index]
        ids = read_panoptic_png(loaded['seg_map_path'])
        assert set(np.unique(ids)) - {0} == {segment['id'] for segment in loaded['segments_info']}
        things = [segment['id'] for segment in loaded['segments_info'] if segment['is_thing']]
        assert len(things) == len(loaded['gt_bboxes']) > 0
        for thing, mask, box in zip(things, loaded['gt_masks'].masks, loaded['gt_bboxes'].tensor.tolist(), strict=True):
            np.testing.assert_array_equal(mask, ids == thing)
            rows, columns = np.nonzero(mask)
            assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        for segment in loaded['segments_info']:
            assert np.unique(loaded['gt_seg_map'][ids == segment['id']]).tolist() == [segment['category']]
        assert (loaded['gt_seg_map'][ids == 0] == 255).all()


def test_no_things_and_no_segments(panoptic_results):
    panoptic_results['instances'] = []
    for segment in panoptic_results['segments_info']:
        segment['is_thing'] = False
    loaded = LoadCocoPanopticAnnotations().transform(panoptic_results)
    assert loaded['gt_masks'].masks.shape == (0, 20, 30)
    assert loaded['gt_bboxes'].tensor.shape == (0, 4)

    Image.new('RGB', (30, 20)).save(panoptic_results['seg_map_path'])
    panoptic_results['segments_info'] = []
    assert (LoadCocoPanopticAnnotations().transform(panoptic_results)['gt_seg_map'] == 255).all()


def test_ids_that_disagree_are_named(panoptic_results):
    extra = {'id': 12345, 'category': 0, 'is_thing': True}
    with pytest.raises(DataError, match=r'a\.png.*a\.jpeg.*only in the PNG \[\], only in the json \[12345\]'):
        LoadCocoPanopticAnnotations().transform({**panoptic_results, 'segments_info': [*SEGMENTS, extra]})
    with pytest.raises(DataError, match=r'only in the PNG \[300, 302\], only in the json \[\]'):
        LoadCocoPanopticAnnotations().transform({**panoptic_results, 'segments_info': SEGMENTS[::2]})


def test_other_size_than_the_image(panoptic_results):
    with pytest.raises(DataError, match=r'a\.png.*30 x 20 .*a\.jpeg 40 x 20'):
        LoadCocoPanopticAnnotations().transform({**panoptic_results, 'ori_shape': (20, 40)})


def test_no_png(panoptic_results):
    with pytest.raises(DataError, match=r'a\.jpeg.*data_prefix'):
        LoadCocoPanopticAnnotations().transform({**panoptic_results, 'seg_map_path': None})


def test_labels_beyond_the_void_label(panoptic_results):
    panoptic_results['segments_info'][0]['category'] = 255
    with pytest.raises(DataError, match='label 255 .*ignore_index.*seg_pad_value'):
        LoadCocoPanopticAnnotations().transform(panoptic_results)
    loaded = LoadCocoPanopticAnnotations(ignore_index=65535).transform(panoptic_results)
    assert loaded['gt_seg_map'].dtype == np.int32
    assert np.unique(loaded['gt_seg_map']).tolist() == [0, 1, 255, 65535]


@pytest.mark.parametrize('ignore_index', [255, 65535])
def test_jittering_and_padding_keep_map_and_masks_together(panoptic_results, ignore_index):
    pipeline = Compose(
        [
            LoadCocoPanopticAnnotations(ignore_index=ignore_index),
            RandomFlip(prob=1.0),
            RandomResize(scale=(60, 40), ratio_range=(1.0, 1.0), resize_type='mmdet.Resize', keep_ratio=True),
            RandomCrop(crop_size=(32, 48), recompute_bbox=True, allow_negative_crop=True),
            FilterAnnotations(min_gt_bbox_wh=(1e-5, 1e-5), by_mask=True, keep_empty=False),
            Pad(size=(64, 64), pad_val={'img': (0, 0, 0), 'masks': 0, 'seg': ignore_index}),
            PackDetInputs(),
        ]
    )
    np.random.seed(0)
    packed = pipeline(panoptic_results)
    preprocessor = DetDataPreprocessor(pad_mask=True, pad_seg=True, seg_pad_value=ignore_index, pad_size_divisor=96)
    sample = preprocessor(pseudo_collate([packed]), training=True)['data_samples'][0]
    labels, masks = sample.gt_sem_seg.sem_seg, torch.from_numpy(sample.gt_instances.masks.masks).bool()
    assert labels.shape == (1, 96, 96)
    assert masks.shape[1:] == (96, 96)
    assert len(masks) > 0
    for mask, label in zip(masks, sample.gt_instances.labels, strict=True):
        assert (labels[0][mask] == label).all()
    assert set(labels.unique().tolist()) <= {0, 1, 2, ignore_index}
    assert (labels[0, 64:] == ignore_index).all()
