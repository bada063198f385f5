import numpy as np
import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS

from mmmaskdino.models.task_modules import OneToManyGroup
from mmmaskdino.models.task_modules.hybrid_assigner import _cheapest
from mmmaskdino.structures import HeadOutput, QueryGroup, StagePrediction

GROUP = dict(type='OneToManyGroup', num_queries=20, num_copies=3)


def make_one_to_many(make_head, changes=None, kind=None):
    return make_head({'one_to_many': GROUP} | (changes or {}), kind)


def fix_points(criterion):
    """The same points at every call, and all of them in the loss."""
    points = torch.rand(1, criterion.point_sampler.num_points, 2)
    criterion.point_sampler.draw = lambda bs, device: points.expand(bs, -1, -1)
    criterion.point_sampler.select = lambda logits, first: torch.arange(logits.shape[1]).expand(len(logits), -1)


def test_two_queries_become_each_object():
    # Queries 0 and 1 are the cheapest for both objects, and the first object needs them more.
    costs = np.array([[1.0, 0.0], [3.0, 1.0], [11.0, 4.0], [12.0, 5.0], [20.0, 30.0]], np.float32)
    queries, gts = _cheapest(costs, 2)
    assert queries.tolist() == [0, 1, 2, 3] and gts.tolist() == [0, 0, 1, 1]  # 1 + 3 + 4 + 5 = 13; next is 18
    queries, gts = _cheapest(costs, 1)
    assert sorted(zip(gts.tolist(), queries.tolist(), strict=True)) == [(0, 0), (1, 1)]  # 2; else 3


@pytest.mark.parametrize(('num_queries', 'num_gts', 'pairs'), [(12, 3, 9), (7, 3, 6), (5, 3, 3), (2, 3, 2), (0, 3, 0)])
def test_copies_of_crowded_images(num_queries, num_gts, pairs):
    """Three copies where there are queries for all of them, else as many as there are, one at least."""
    boxes = torch.zeros(1, 1, num_queries, 4)
    copies = QueryGroup(StagePrediction(boxes, boxes, None), [''], num_copies=3).copies(num_gts)
    queries, gts = _cheapest(np.random.default_rng(0).random((num_queries, num_gts)), copies)
    assert len(set(queries.tolist())) == len(queries) == pairs
    assert max(np.bincount(gts, minlength=3)) - min(np.bincount(gts, minlength=3)) == int(pairs == 2)


def test_attention_mask():
    no, yes = False, True
    denoising = torch.tensor([[no, no, no], [yes, no, no], [yes, no, no]])  # one noised query, which sees two others
    blocked = torch.ones(4, 4, dtype=torch.bool)
    blocked[:3, :3] = denoising
    blocked[3, 3] = False
    with_last = torch.zeros(4, 4, dtype=torch.bool)
    with_last[:3, :3] = denoising
    queries = torch.zeros(1, 4, 8)
    assert torch.equal(OneToManyGroup.set_apart(with_last, queries, 1), blocked)
    alone = torch.tensor([[no, no, yes, yes], [no, no, yes, yes], [yes, yes, no, no], [yes, yes, no, no]])
    assert torch.equal(OneToManyGroup.set_apart(None, queries, 2), alone)
    for num_more in (0, -3):  # fewer tokens than the model has queries
        assert not OneToManyGroup.set_apart(None, queries, num_more).any()


@pytest.mark.parametrize('denoising', [True, False])
def test_group_and_other_queries_do_not_reach_one_another(make_head, make_features, make_targets, denoising):
    head = make_one_to_many(make_head, {} if denoising else {'denoising': None})
    features, targets = make_features(), make_targets([3, 1])
    torch.manual_seed(0)
    output = head.forward_train(features, targets)
    _, memory, start = head._start(features, None, num_more=20)
    layers = head.decoder(start.content[:, 12:], start.boxes[:, 12:], memory, head.heads)
    (group,) = output.further
    assert group.stages.boxes.shape == (4, 2, 20, 4) and group.num_copies == 3
    for got, layer in zip(group.stages.boxes[2:], layers, strict=True):
        torch.testing.assert_close(got, head.heads(layer.hidden_state, layer.references).boxes, rtol=1e-4, atol=1e-5)
    head.one_to_many = None
    torch.manual_seed(0)
    without = head.forward_train(features, targets)
    for name in ('encoder', 'matching', *(['denoising'] if denoising else [])):
        for got, expected in zip(getattr(output, name), getattr(without, name), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert not without.further


def test_losses_are_those_of_repeated_objects(make_head, make_features, make_targets):
    """As its authors have it: the criterion of the plain model, told every object three times."""
    head = make_one_to_many(make_head)
    fix_points(head.criterion)
    targets = make_targets([3, 1])
    output = head.forward_train(make_features(), targets)
    losses = head.criterion(output, targets)
    stages = output.further[0].stages
    alone = HeadOutput(stages.map(lambda x: x[:1]), stages.map(lambda x: x[1:]), None, None, output.mask_features)
    repeated = [type(t)(*(None if f is None else torch.cat([f] * 3) for f in t)) for t in targets]
    expected = head.criterion(alone, repeated)
    assert len(expected) == 20
    for name, value in expected.items():
        prefix, _, term = name.rpartition('loss_')
        torch.testing.assert_close(losses[f'{prefix}many_loss_{term}'], value, rtol=1e-4, atol=1e-5)
    plain = head.criterion(output._replace(further=()), targets)
    assert len(losses) == len(plain) + 20
    assert all(torch.equal(losses[name], value) for name, value in plain.items())


def test_fewer_copies_weigh_as_much(make_head, make_features, make_targets):
    """Of an image with so many objects that there are queries for two copies of each, not three."""
    head = make_one_to_many(make_head)
    fix_points(head.criterion)
    targets = make_targets([4])
    output = head.forward_train(make_features(bs=1), targets)
    group = output.further[0]
    some = group.stages.map(lambda x: x[:, :, :9])
    three, two = (QueryGroup(some, group.names, num_copies) for num_copies in (3, 2))
    losses, expected = (head.criterion(output._replace(further=(x,)), targets) for x in (three, two))
    assert losses['many_loss_bbox'] > 0
    assert all(torch.equal(losses[name], value) for name, value in expected.items())


def test_nothing_is_left_at_test_time(make_head, make_features):
    head, features = make_one_to_many(make_head).eval(), make_features()
    prediction, _ = head(features)
    head.one_to_many = None
    assert prediction.boxes.shape == (2, 12, 4)
    assert all(torch.equal(got, wanted) for got, wanted in zip(prediction, head(features)[0], strict=True))
    assert not any('one_to_many' in name for name in head.state_dict())


@pytest.mark.parametrize(
    ('changes', 'kind', 'stuff'),
    [
        ({'query_init.initial_boxes': 'tight'}, None, 0),
        ({'box_prior': dict(type='BoxPrior'), 'query_init.initial_boxes': 'cut'}, None, 0),
        ({'num_stuff_classes': 3, 'criterion.decouple_stuff': True}, None, 3),
        ({'criterion.loss_cls.type': 'PositionSupervisedFocalLoss'}, None, 0),
        ({'denoising.type': 'ContrastiveDenoisingGenerator'}, None, 0),
        ({'denoising': None}, 'detection', 0),
    ],
)
@pytest.mark.parametrize('counts', [[3, 1], [0, 2], [0, 0]])
def test_with_other_parts(make_head, make_features, make_targets, changes, kind, stuff, counts):
    head = make_one_to_many(make_head, changes, kind)
    targets = make_targets(counts, [0, 2] if stuff else None, num_stuff=stuff)
    losses = head.criterion(head.forward_train(make_features(), targets), targets)
    sum(losses.values()).backward()
    assert {f'{stage}many_loss_cls' for stage in ('enc_', 'd0.', 'd1.', '')} < set(losses)
    assert all(value.isfinite() for value in losses.values())
    # Every process of a distributed training has to have a gradient for every parameter.
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_checkpointed_layers_give_the_same_gradients(make_head, make_features, make_targets):
    head, features, targets = make_one_to_many(make_head), make_features(), make_targets([3, 1])
    gradients = []
    for with_cp in (False, True):
        head.decoder.with_cp = head.pixel_decoder.with_cp = with_cp
        torch.manual_seed(0)
        losses = head.criterion(head.forward_train(features, targets), targets)
        gradients.append(torch.autograd.grad(sum(losses.values()), list(head.parameters())))
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {
            'criterion.loss_cls.type': 'PositionSupervisedFocalLoss',
            'criterion.assigner.match_costs': [dict(type='PositionModulatedFocalCost', weight=2.0)],
        },
        {'criterion.loss_cls': dict(type='QueryCrossEntropyLoss')},
    ],
)
@pytest.mark.parametrize(('num_queries', 'num_further'), [(100, 26), (126, 0), (200, 0)])
def test_fewer_tokens_than_queries(make_head, make_features, make_targets, num_queries, num_further, changes):
    """A canvas of 64 x 96 has 126 tokens."""
    counts = {'query_init.num_queries': num_queries, 'one_to_many.num_queries': 1000}
    head = make_one_to_many(make_head, counts | changes)
    targets = make_targets([3, 1])
    output = head.forward_train(make_features(), targets)
    assert output.matching.boxes.shape[2] == min(num_queries, 126)
    assert output.further[0].stages.boxes.shape[2] == num_further
    losses = head.criterion(output, targets)
    assert all(value.isfinite() for value in losses.values())
    assert (losses['many_loss_bbox'] > 0) == (num_further > 0)


def test_names_and_copies_of_a_group_are_its_own(make_head, make_features, make_targets):
    head, targets = make_one_to_many(make_head), make_targets([3, 1])
    output = head.forward_train(make_features(), targets)
    one_each = QueryGroup(output.matching.map(lambda x: x[-1:]), ['again_'])
    losses = head.criterion(output._replace(further=(one_each,)), targets)
    torch.testing.assert_close(losses['again_loss_cls'], losses['loss_cls'])
    torch.testing.assert_close(losses['again_loss_bbox'], losses['loss_bbox'])


def test_rejected_settings(head_config):
    with pytest.raises(ValueError, match='needs a query_init of type EncoderQuerySelection, got LearnedQueries'):
        MODELS.build(head_config({'one_to_many': GROUP}, 'learned softmax'))
    for name in ('num_queries', 'num_copies'):
        with pytest.raises(ValueError, match=f'one_to_many needs .*{name}=0'):
            TASK_UTILS.build(GROUP | {name: 0})
    with pytest.raises(TypeError, match='copies'):
        TASK_UTILS.build(GROUP | dict(copies=6))
    default = TASK_UTILS.build(dict(type='OneToManyGroup'))
    assert (default.num_queries, default.num_copies) == (1500, 6)
