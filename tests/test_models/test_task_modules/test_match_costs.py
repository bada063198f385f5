import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

from mmmaskdino.models.task_modules.match_costs import reads_masks
from mmmaskdino.models.utils.points import PointLogits


def masks_of(logits, masks, **more):
    return InstanceData(masks=logits), InstanceData(masks=masks, **more)


@pytest.mark.parametrize(('name', 'record'), [('PointBCECost', 'batch_mask_bce'), ('PointDiceCost', 'batch_dice')])
def test_recorded_costs(golden_ops, name, record):
    want = golden_ops['losses'][record]
    costs = TASK_UTILS.build(dict(type=name, weight=5.0))(*masks_of(want['inputs'], want['targets']))
    torch.testing.assert_close(costs, 5 * want['output'], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ('name', 'theirs'),
    [
        ('PointBCECost', dict(type='CrossEntropyLossCost', use_sigmoid=True)),
        ('PointDiceCost', dict(type='DiceCost', pred_act=True, eps=1.0)),
    ],
)
def test_same_as_mmdet(name, theirs):
    arguments = masks_of(4 * torch.randn(9, 50), (torch.rand(4, 50) > 0.5).float())
    ours = TASK_UTILS.build(dict(type=name, weight=2.0))(*arguments)
    torch.testing.assert_close(ours, 2 * TASK_UTILS.build(theirs)(*arguments), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', ['PointBCECost', 'PointDiceCost'])
def test_large_logits_stay_finite(name):
    costs = TASK_UTILS.build(dict(type=name))(*masks_of(1e4 * torch.randn(9, 50), torch.rand(4, 50)))
    assert costs.isfinite().all()


def test_cost_of_things_only():
    boxes, gts = 50 * torch.rand(9, 4).cumsum(1), 50 * torch.rand(3, 4).cumsum(1)
    is_thing = torch.tensor([True, False, True])
    predictions, ground_truth = InstanceData(bboxes=boxes), InstanceData(bboxes=gts, is_thing=is_thing)
    for plain in (dict(type='BBoxL1Cost', box_format='xywh', weight=5.0), dict(type='IoUCost', iou_mode='giou')):
        meta = dict(img_shape=(64, 96))
        decoupled = TASK_UTILS.build(dict(type='ThingOnlyCost', cost=plain))(predictions, ground_truth, img_meta=meta)
        coupled = TASK_UTILS.build(plain)(predictions, ground_truth, img_meta=meta)
        assert torch.equal(decoupled[:, is_thing], coupled[:, is_thing])
        assert not decoupled[:, 1].any() and coupled[:, 1].any()


def test_cost_of_things_is_zero_for_stuff_even_where_it_is_nan():
    predictions = InstanceData(masks=torch.full((2, 5), torch.nan))
    ground_truth = InstanceData(masks=torch.ones(2, 5), is_thing=torch.tensor([False, True]))
    cost = TASK_UTILS.build(dict(type='ThingOnlyCost', cost=dict(type='PointBCECost')))
    assert cost(predictions, ground_truth).isnan().tolist() == [[False, True]] * 2


@pytest.mark.parametrize('name', ['PointBCECost', 'PointDiceCost', 'ThingOnlyCost'])
def test_unknown_key_is_refused(name):
    with pytest.raises(TypeError, match='wieght'):
        TASK_UTILS.build(dict(type=name, wieght=1.0))


@pytest.mark.parametrize('name', ['PointBCECost', 'PointDiceCost'])
def test_what_costs_have_in_common_is_taken_as_it_is_given(name):
    cost, (predictions, ground_truth) = (
        TASK_UTILS.build(dict(type=name)),
        masks_of(torch.randn(9, 50), torch.rand(4, 50)),
    )
    given = InstanceData(masks=torch.zeros(9, 50), points=PointLogits(predictions.masks))
    assert torch.equal(cost(given, ground_truth), cost(predictions, ground_truth))


@pytest.mark.parametrize(
    ('cost', 'expected'),
    [
        (dict(type='PointDiceCost'), True),
        (dict(type='DiceCost'), True),
        (dict(type='ThingOnlyCost', cost=dict(type='PointBCECost')), True),
        (dict(type='IoUCost'), False),
        (dict(type='ThingOnlyCost', cost=dict(type='IoUCost')), False),
    ],
)
def test_costs_of_masks_are_known(cost, expected):
    assert reads_masks(TASK_UTILS.build(cost)) is expected
