import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks

from mmmaskdino.datasets import DiagonalRandomCrop, DrawTargets, ObjectMasks


@pytest.fixture
def results():
    """Four objects on a canvas of 20 x 30: one cut by the crop, one cut off, one below a pixel, a crowd."""
    squares = [(2, 2, 12, 8), (22, 2, 28, 8), (5.6, 5.6, 5.8, 5.8), (3, 10, 6, 13)]
    polygons = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in squares]
    masks = ObjectMasks(polygons, 20, 30, [11, 12, 13, 14]).crop(np.array([4, 0, 20, 20]))
    return dict(
        gt_masks=masks,
        gt_bboxes=HorizontalBoxes(torch.zeros(4, 4)),
        gt_bboxes_labels=np.array([5, 6, 7, 8]),
        gt_ignore_flags=np.array([False, False, False, True]),
    )


def test_what_remains_is_drawn(results):
    drawn = DrawTargets()(results)
    assert drawn['gt_bboxes_labels'].tolist() == [5, 7] and drawn['gt_masks'].annotation_ids == [11, 13]
    assert drawn['gt_ignore_flags'].tolist() == [False, False]
    boxes = drawn['gt_bboxes'].tensor
    assert torch.allclose(boxes, torch.tensor([[0, 2, 8, 8], [1.6, 5.6, 1.8, 5.8]]))
    assert drawn['gt_masks'].areas.tolist() == [48, 0]
    assert drawn['gt_masks'].masks[0, 2:8, :8].all()
    again = DrawTargets()(drawn)['gt_masks']
    np.testing.assert_array_equal(again.masks[0], drawn['gt_masks'].masks[0])


def test_masks_of_mmdet(results):
    masks = results['gt_masks']
    results['gt_masks'] = BitmapMasks(masks.masks, masks.height, masks.width)
    drawn = DrawTargets()(results)
    assert drawn['gt_bboxes_labels'].tolist() == [5] and drawn['gt_bboxes'].tensor.tolist() == [[0, 2, 8, 8]]


def test_no_objects(results):
    none = {key: value[np.zeros(4, dtype=bool)] for key, value in results.items()}
    drawn = DrawTargets()(none)
    assert len(drawn['gt_masks']) == 0 and drawn['gt_bboxes'].tensor.shape == (0, 4)
    assert drawn['gt_masks'].masks.shape == (0, 20, 16)


def test_diagonal_crop():
    crop = DiagonalRandomCrop(crop_size=(10, 10), allow_negative_crop=True)
    rows, columns = np.mgrid[:110, :60].astype(np.uint8)
    corners = []
    for seed in range(50):
        np.random.seed(seed)
        image = crop(dict(img=np.stack([rows, columns], axis=2)))['img']
        assert image.shape == (10, 10, 2)
        corners.append(image[0, 0].astype(int))
    y, x = np.transpose(corners)
    assert (np.abs(x - y / 2) <= 1).all() and y.min() < 10 and y.max() > 90
