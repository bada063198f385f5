import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

from mmmaskdino.models.task_modules.match_costs import Candidates
from mmmaskdino.models.utils.boxes import cxcywh_to_xyxy
from mmmaskdino.structures import StagePrediction


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


def some_boxes(num):
    boxes = torch.cat([0.2 + 0.6 * torch.rand(num, 2), 0.3 * torch.rand(num, 2)], 1)
    return dict(boxes=boxes, bboxes=cxcywh_to_xyxy(boxes))


@pytest.mark.parametrize(
    ('name', 'theirs'),
    [('BoxL1Cost', dict(type='BBoxL1Cost', box_format='xywh')), ('BoxGIoUCost', dict(type='IoUCost', iou_mode='giou'))],
)
def test_boxes_cost_what_they_cost_in_mmdet(name, theirs):
    predictions, ground_truth = InstanceData(**some_boxes(9)), InstanceData(**some_boxes(3))
    ours = TASK_UTILS.build(dict(type=name, weight=2.0))(predictions, ground_truth)
    theirs = TASK_UTILS.build(theirs)(predictions, ground_truth, img_meta=dict(img_shape=(1, 1)))
    torch.testing.assert_close(ours, 2 * theirs, rtol=1e-5, atol=1e-5)


def test_small_boxes_are_told_apart():
    """Of half a pixel in 8000: mmdet adds a number to the area that such boxes never reach."""
    size = torch.tensor([[0.5, 0.5, 5e-5, 5e-5]])
    near, far = size + torch.tensor([1e-5, 0, 0, 0]), size + torch.tensor([4e-5, 0, 0, 0])
    boxes = dict(predictions=torch.cat([near, far]), objects=size)
    predictions, objects = (InstanceData(bboxes=cxcywh_to_xyxy(x)) for x in boxes.values())
    costs = TASK_UTILS.build(dict(type='BoxGIoUCost'))(predictions, objects)
    torch.testing.assert_close(costs, torch.tensor([[-4 / 6], [-1 / 9]]), rtol=0.02, atol=0)


@pytest.mark.parametrize('name', ['BoxL1Cost', 'BoxGIoUCost'])
def test_cost_of_things_only(name):
    is_thing = torch.tensor([True, False, True])
    predictions, ground_truth = InstanceData(**some_boxes(9)), InstanceData(**some_boxes(3), is_thing=is_thing)
    plain = dict(type=name, weight=5.0)
    decoupled = TASK_UTILS.build(dict(type='ThingOnlyCost', cost=plain))(predictions, ground_truth)
    coupled = TASK_UTILS.build(plain)(predictions, ground_truth)
    assert torch.equal(decoupled[:, is_thing], coupled[:, is_thing])
    assert not decoupled[:, 1].any() and coupled[:, 1].any()


def test_cost_of_things_is_zero_for_stuff_even_where_it_is_nan():
    predictions = InstanceData(masks=torch.full((2, 5), torch.nan))
    ground_truth = InstanceData(masks=torch.ones(2, 5), is_thing=torch.tensor([False, True]))
    cost = TASK_UTILS.build(dict(type='ThingOnlyCost', cost=dict(type='PointBCECost')))
    assert cost(predictions, ground_truth).isnan().tolist() == [[False, True]] * 2


@pytest.mark.parametrize(
    'name', ['BoxL1Cost', 'BoxGIoUCost', 'PointBCECost', 'PointDiceCost', 'PositionModulatedFocalCost', 'ThingOnlyCost']
)
def test_unknown_key_is_rejected(name):
    with pytest.raises(TypeError, match='wieght'):
        TASK_UTILS.build(dict(type=name, wieght=1.0))


def objects_of(boxes, **more):
    return InstanceData(boxes=boxes, bboxes=cxcywh_to_xyxy(boxes), **more)


def test_scores_count_where_boxes_are_near():
    """Boxes of GIoU 1 / 3 and -1 / 3 with the object: u = 2 / 3 and 1 / 3, after scaling 1 and 1 / 2."""
    wanted = objects_of(torch.tensor([[0.5, 0.5, 0.2, 0.2]]), labels=torch.tensor([1]), is_thing=torch.tensor([True]))
    boxes = torch.tensor([[0.6, 0.5, 0.2, 0.2], [0.9, 0.5, 0.2, 0.2]])
    logits = torch.tensor([[3.0, 0.4], [-3.0, 0.9]])
    candidates = Candidates(StagePrediction(logits, boxes, None), None)
    costs = TASK_UTILS.build(dict(type='PositionModulatedFocalCost', weight=4.0))(candidates, wanted)
    overlap, apart = 1 / 3, -1 / 3  # GIoU: half of each is shared; a gap as wide as they are in a hull of three
    scale = (torch.tensor([overlap, apart]) + 1) / (overlap + 1)
    p = logits[:, 1].sigmoid() * scale**0.5
    expected = -p.log() * 0.25 * (1 - p) ** 2 + (1 - p).log() * 0.75 * p**2
    torch.testing.assert_close(costs[:, 0], 4 * expected, rtol=1e-4, atol=1e-5)


def test_the_scale_is_that_of_the_stage():
    """However many queries are looked at together; the nearest of each stage costs what mmdet's focal cost says."""
    num_stages, num_queries = 3, 5
    boxes, logits = some_boxes(15)['boxes'].view(3, 5, 4), torch.randn(3, 5, 6)
    wanted = objects_of(some_boxes(2)['boxes'], labels=torch.tensor([4, 2]), is_thing=torch.tensor([True, True]))
    flat = StagePrediction(logits.flatten(0, 1), boxes.flatten(0, 1), None)
    cost = TASK_UTILS.build(dict(type='PositionModulatedFocalCost'))
    together = cost(Candidates(flat, None, boxes, slice(0, 15)), wanted)
    parts = [slice(0, 4), slice(4, 11), slice(11, 15)]
    in_parts = [
        cost(Candidates(flat.map(lambda field, part=part: field[part]), None, boxes, part), wanted) for part in parts
    ]
    torch.testing.assert_close(torch.cat(in_parts), together)
    plain = TASK_UTILS.build(dict(type='FocalLossCost'))(InstanceData(scores=flat.cls_logits), wanted)
    for stage in range(num_stages):
        rows = slice(stage * num_queries, (stage + 1) * num_queries)
        alone = cost(Candidates(StagePrediction(logits[stage], boxes[stage], None), None), wanted)
        torch.testing.assert_close(together[rows], alone)
        assert (together[rows] - plain[rows]).abs().min() < 1e-5 < (together[rows] - plain[rows]).abs().max()


def test_stuff_costs_its_score():
    is_thing = torch.tensor([False, True])
    wanted = objects_of(some_boxes(2)['boxes'], labels=torch.tensor([0, 1]), is_thing=is_thing)
    stage = StagePrediction(torch.randn(6, 2), some_boxes(6)['boxes'], None)
    plain = TASK_UTILS.build(dict(type='FocalLossCost'))(InstanceData(scores=stage.cls_logits), wanted)
    cost = TASK_UTILS.build(dict(type='PositionModulatedFocalCost'))
    costs = cost(Candidates(stage, None), wanted)
    torch.testing.assert_close(costs[:, 0], plain[:, 0])
    assert not torch.allclose(costs[:, 1], plain[:, 1], atol=1e-3)
    wanted.is_thing = torch.tensor([False, False])
    torch.testing.assert_close(cost(Candidates(stage, None), wanted), plain)
