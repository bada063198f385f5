from itertools import permutations

import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

from mmmaskdino.models.task_modules import hybrid_assigner
from mmmaskdino.models.task_modules.match_costs import Candidates
from mmmaskdino.models.utils import cxcywh_to_xyxy
from mmmaskdino.ops import device
from mmmaskdino.ops.points import PointFeatures
from mmmaskdino.structures import StagePrediction

NUM_POINTS = 40


@pytest.fixture
def make_assigner(head_config):
    """The small head's assigner, or one with the given costs."""

    def make(match_costs=None):
        cfg = dict(head_config().criterion.assigner)
        return TASK_UTILS.build(cfg | (dict(match_costs=match_costs) if match_costs else {}))

    return make


def random_stages(num_stages=3, bs=2, num_queries=5):
    shape = (num_stages, bs, num_queries)
    return StagePrediction(torch.randn(*shape, 5), 0.1 + 0.5 * torch.rand(*shape, 4), torch.randn(*shape, 16))


def of_points(features):
    return PointFeatures(features, None, None)


def points_of(targets):
    features = [of_points(torch.randn(16, NUM_POINTS)) for _ in targets]
    return features, [(torch.rand(len(t.labels), NUM_POINTS) > 0.5).float() for t in targets]


def cost_matrix(assigner, stages, stage, image, target, features, masks):
    """(num_queries, num_gts) of one stage of one image, cost by cost."""
    predictions = Candidates(StagePrediction(*(field[stage, image] for field in stages)), features)
    ground_truth = InstanceData(
        labels=target.labels,
        boxes=target.boxes,
        bboxes=cxcywh_to_xyxy(target.boxes),
        masks=masks,
        is_thing=target.is_thing,
    )
    return sum(cost(predictions, ground_truth) for cost in assigner.match_costs)


def as_dict(pairs):
    """{(stage, image): {object: query}}"""
    found = {}
    for stage, image, query, gt in zip(*(field.tolist() for field in pairs[:4]), strict=True):
        assert gt not in found.setdefault((stage, image), {})
        found[stage, image][gt] = query
    return found


@pytest.mark.parametrize('values', [2**26, 1])
def test_optimal_in_every_stage_and_image(make_assigner, make_targets, values, monkeypatch):
    # Queries taken together or one by one.
    monkeypatch.setattr(device, 'HOST_VALUES', values)
    assigner, stages, targets = make_assigner(), random_stages(), make_targets([3, 2], stuff=[0, 1], num_things=4)
    features, masks = points_of(targets)
    found = as_dict(assigner.assign(stages, targets, features, masks))
    assert set(found) == {(stage, image) for stage in range(3) for image in range(2)}
    for (stage, image), matched in found.items():
        costs = cost_matrix(assigner, stages, stage, image, targets[image], features[image], masks[image])
        best = min(sum(costs[q, gt] for gt, q in enumerate(p)) for p in permutations(range(5), 3))
        assert sorted(matched) == [0, 1, 2] and len(set(matched.values())) == 3
        torch.testing.assert_close(sum(costs[q, gt] for gt, q in matched.items()), best)


def test_pairs_are_ordered_by_image_and_counted(make_assigner, make_targets):
    targets = make_targets([3, 0, 2])
    features, masks = points_of(targets)
    pairs = make_assigner().assign(random_stages(bs=3), targets, features, masks)
    assert pairs.per_image == (9, 0, 6)
    assert pairs.images.tolist() == [0] * 9 + [2] * 6
    assert pairs.stages.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [0] * 2 + [1] * 2 + [2] * 2
    assert all(field.dtype == torch.int64 for field in pairs[:4])


def test_more_objects_than_queries(make_assigner, make_targets):
    targets = make_targets([7, 1])
    features, masks = points_of(targets)
    found = as_dict(make_assigner().assign(random_stages(), targets, features, masks))
    assert all(len(found[stage, 0]) == 5 and len(found[stage, 1]) == 1 for stage in range(3))


def test_no_objects(make_assigner, make_targets):
    targets = make_targets([0, 0])
    pairs = make_assigner().assign(random_stages(), targets, *points_of(targets))
    assert pairs.per_image == (0, 0) and all(len(field) == 0 for field in pairs[:4])


def test_without_masks(make_assigner, make_targets, head_config):
    assigner = make_assigner(head_config(kind='detection').criterion.assigner.match_costs)
    stages = random_stages()._replace(mask_embeds=None)
    targets = [t._replace(masks=None) for t in make_targets([3, 2])]
    assert assigner.assign(stages, targets, None, None).per_image == (9, 6)


def test_perfect_predictions_find_their_objects(make_assigner, make_targets):
    (target,) = make_targets([4], num_things=5)
    order = torch.tensor([2, 0, 3, 1])
    logits = torch.full((1, 1, 4, 5), -8.0)
    logits[0, 0, torch.arange(4), target.labels[order]] = 8.0
    masks = (torch.rand(4, NUM_POINTS) > 0.5).float()
    stages = StagePrediction(logits, target.boxes[order][None, None], torch.eye(4)[None, None])
    pairs = make_assigner().assign(stages, [target], [of_points(20 * masks[order] - 10)], [masks])
    assert as_dict(pairs)[0, 0] == {int(gt): query for query, gt in enumerate(order)}


def test_stuff_is_matched_without_its_boxes(make_assigner, make_targets):
    (target,) = make_targets([0], stuff=[3], num_things=2, num_stuff=3)
    stages = random_stages(bs=1)
    features, masks = points_of([target])
    moved = target._replace(boxes=0.1 + 0.5 * torch.rand(3, 4))
    first, second = (make_assigner().assign(stages, [t], features, masks) for t in (target, moved))
    assert as_dict(first) == as_dict(second)


def test_costs_that_are_not_finite(make_assigner, make_targets, monkeypatch):
    messages = []
    monkeypatch.setattr(hybrid_assigner, 'print_log', lambda message, **kwargs: messages.append((message, kwargs)))
    assigner, stages, targets = make_assigner(), random_stages(), make_targets([3, 2])
    features, masks = points_of(targets)
    clean = as_dict(assigner.assign(stages, targets, features, masks))
    assert assigner.num_sanitized == 0 and not messages

    stages.cls_logits[1, 0, 2] = torch.nan
    stages.cls_logits[2, 1] = torch.inf
    found = as_dict(assigner.assign(stages, targets, features, masks))
    count = assigner.num_sanitized
    assert count >= 3 and len(messages) == 1
    assert f'{count} of 75 matching costs are not finite' in messages[0][0] and messages[0][1]['level'] == 30
    assert 2 not in found[1, 0].values()  # the broken query is the last choice
    untouched = [key for key in clean if key not in {(1, 0), (2, 1)}]
    assert {key: found[key] for key in untouched} == {key: clean[key] for key in untouched}
    assert sorted(found[2, 1]) == [0, 1]

    assigner.assign(stages, targets, features, masks)
    assert assigner.num_sanitized == 2 * count and len(messages) == 1


def test_one_copy_to_the_host(make_assigner, make_targets, monkeypatch):
    copies = []
    to_host = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, 'cpu', lambda self, *args: copies.append(self.shape) or to_host(self, *args))
    for name in ('item', 'tolist', '__bool__', '__int__', '__float__', 'nonzero', 'unique', 'numpy'):
        allowed = getattr(torch.Tensor, name)

        def reject(self, *args, name=name, allowed=allowed, **kwargs):
            assert copies, f'{name} before the one copy'  # on the CPU, afterwards, anything goes
            return allowed(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, reject)
    targets = make_targets([3, 0, 2])
    features, masks = points_of(targets)
    make_assigner().assign(random_stages(bs=3), targets, features, masks)
    assert copies == [(3 * 5 * (3 + 2),)]


def test_costs_are_computed_in_float32(make_assigner, make_targets):
    """In half precision the focal cost of a confident query is infinite."""
    stages = random_stages()
    stages = StagePrediction(20 * stages.cls_logits.sign().half(), stages.boxes.half(), stages.mask_embeds.half())
    assigner, targets = make_assigner(), make_targets([2, 1])
    features, masks = points_of(targets)
    found = as_dict(assigner.assign(stages, targets, features, masks))
    assert assigner.num_sanitized == 0
    full = StagePrediction(*(field.float() for field in stages))
    assert found == as_dict(assigner.assign(full, targets, features, masks))


@pytest.mark.parametrize(
    ('theirs', 'ours'),
    [
        (dict(type='CrossEntropyLossCost', use_sigmoid=True), dict(type='PointBCECost')),
        (dict(type='DiceCost', pred_act=True, eps=1.0), dict(type='PointDiceCost')),
        (dict(type='BBoxL1Cost', box_format='xywh'), dict(type='BoxL1Cost')),
        (dict(type='IoUCost', iou_mode='giou'), dict(type='BoxGIoUCost')),
    ],
)
def test_costs_may_be_those_of_mmdet(make_assigner, make_targets, theirs, ours):
    """Configs of earlier versions name them."""
    stages, targets = random_stages(), make_targets([3, 2])
    features, masks = points_of(targets)
    found = (make_assigner([cost]).assign(stages, targets, features, masks) for cost in (theirs, ours))
    assert as_dict(next(found)) == as_dict(next(found))


def test_costs_that_are_not_finite_are_counted_and_reported_once(make_assigner, make_targets, monkeypatch):
    said = []
    monkeypatch.setattr(hybrid_assigner, 'print_log', lambda message, **kwargs: said.append((message, kwargs)))
    assigner, stages, targets = make_assigner(), random_stages(1, 1), make_targets([3])
    stages.boxes[0, 0, 2] = torch.nan
    features, masks = points_of(targets)
    for times in (1, 2):
        assigner.assign(stages, targets, features, masks)
        assert assigner.num_sanitized == 3 * times  # a query and three objects
    ((message, arguments),) = said
    assert message.startswith(
        '3 of 15 matching costs are not finite: the predictions hold NaN or inf. They are treated'
    )
    assert message.endswith('the learning rate or train in bfloat16 or float32. Further cases are only counted.')
    assert arguments == dict(logger='current', level=30)


def test_any_cost_of_mmdet_sees_masks(make_assigner, make_targets):
    stages, targets = random_stages(), make_targets([3, 2])
    costs = [dict(type='FocalLossCost', binary_input=True), dict(type='ThingOnlyCost', cost=dict(type='DiceCost'))]
    assert make_assigner(costs).assign(stages, targets, *points_of(targets)).per_image == (9, 6)


def test_mask_logits_that_no_cost_reads_are_not_computed(make_assigner, make_targets, monkeypatch):
    monkeypatch.setattr(PointFeatures, 'logits', lambda *args: pytest.fail('computed'))
    targets = make_targets([3, 2])
    make_assigner([dict(type='BoxL1Cost')]).assign(random_stages(), targets, *points_of(targets))


def test_a_cost_of_masks_in_a_model_without_masks(make_assigner, make_targets):
    stages = random_stages()._replace(mask_embeds=None)
    with pytest.raises(ValueError, match=r'compares masks, but the model has none .*match_costs'):
        make_assigner().assign(stages, make_targets([3, 2]), None, None)
