"""The quality that sorts pictures."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks, encode_mask_results
from mmengine.structures import InstanceData, PixelData

from mmmaskdino.visualization.image_quality import comparable_kind, image_quality

SIZE = (10, 20)


def mask(rows, columns):
    array = np.zeros(SIZE, bool)
    array[rows, columns] = True
    return array


LEFT, RIGHT, UPPER = mask(slice(None), slice(10)), mask(slice(None), slice(10, None)), mask(slice(8), slice(10))


def objects(masks, labels, scores=None):
    boxes = [[10.0 * (m is RIGHT), 0, 10.0 + 10 * (m is RIGHT), 8.0 if m is UPPER else 10] for m in masks]
    data = InstanceData(bboxes=torch.tensor(boxes).reshape(-1, 4), labels=torch.tensor(labels, dtype=torch.long))
    array = np.stack(masks) if masks else np.zeros((0, *SIZE), bool)
    if scores is None:
        data.masks = BitmapMasks(array.astype(np.uint8), *SIZE)
    else:
        data.masks, data.scores = torch.from_numpy(array), torch.tensor(scores)
    return data


@pytest.mark.parametrize('with_masks', [True, False])
@pytest.mark.parametrize(
    'masks, labels, scores, expected',
    [
        ([LEFT, RIGHT], [0, 1], [0.9, 0.9], 1.0),
        ([UPPER, RIGHT], [0, 1], [0.9, 0.9], 0.9),
        ([LEFT, RIGHT], [0, 1], [0.9, 0.2], 1 / 1.5),
        ([LEFT, RIGHT], [0, 0], [0.9, 0.9], 0.5),
        ([LEFT, LEFT, RIGHT], [0, 0, 1], [0.9, 0.8, 0.9], 2 / 2.5),
        ([], [], [], 0.0),
    ],
)
def test_instances(with_masks, masks, labels, scores, expected):
    sample = DetDataSample(gt_instances=objects([LEFT, RIGHT], [0, 1]), pred_instances=objects(masks, labels, scores))
    if not with_masks:
        del sample.pred_instances.masks
    assert image_quality(sample, 'instances', 2) == pytest.approx(expected)
    if with_masks:
        sample.pred_instances.masks = encode_mask_results(sample.pred_instances.masks.numpy())
        assert image_quality(sample, 'instances', 2) == pytest.approx(expected)


def test_nothing_to_find():
    sample = DetDataSample(gt_instances=objects([], []), pred_instances=objects([], [], []))
    assert image_quality(sample, 'instances', 2) == 1.0


def maps(kind, gt, pred):
    field = dict(panoptic='panoptic_seg', semantic='sem_seg')[kind]
    return DetDataSample(
        **{
            f'{name}_{field}': PixelData(sem_seg=torch.from_numpy(x)[None])
            for name, x in dict(gt=gt, pred=pred).items()
        }
    )


@pytest.mark.parametrize('kind', ['panoptic', 'semantic'])
def test_maps(kind):
    gt = np.where(LEFT, 0, 1)
    assert image_quality(maps(kind, gt, gt), kind, 3) == 1.0
    pred = np.where(UPPER, 0, 1)  # IoU 0.8 and 100 / 120
    assert image_quality(maps(kind, gt, pred), kind, 3) == pytest.approx((0.8 + 100 / 120) / 2)
    assert image_quality(maps(kind, gt, np.full(SIZE, 2)), kind, 3) == 0.0


def test_void_is_not_looked_at():
    gt, pred = np.where(LEFT, 0, 255), np.zeros(SIZE, int)
    assert image_quality(maps('semantic', gt, pred), 'semantic', 3) == 1.0
    assert image_quality(maps('panoptic', np.where(LEFT, 0, 3), pred), 'panoptic', 3) == 1.0


def test_instances_of_one_class_are_told_apart():
    gt = np.where(LEFT, 1000, 2000)
    assert image_quality(maps('panoptic', gt, gt + 1000), 'panoptic', 3) == 1.0
    assert image_quality(maps('panoptic', gt, np.full(SIZE, 1000)), 'panoptic', 3) == 0.0


def test_comparable_kind():
    assert comparable_kind(maps('semantic', LEFT, LEFT)) == 'semantic'
    with pytest.raises(ValueError, match='nothing is both annotated and predicted'):
        comparable_kind(DetDataSample(gt_instances=objects([], [])))
