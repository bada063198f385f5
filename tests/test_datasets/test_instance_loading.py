import numpy as np
import pytest
from mmdet.datasets.transforms import LoadAnnotations
from pycocotools import mask as coco_mask

from mmmaskdino.datasets import LoadCheckedAnnotations
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
