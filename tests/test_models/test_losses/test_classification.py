import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS

from mmmaskdino.models.losses import PositionSupervisedFocalLoss, QueryCrossEntropyLoss, QueryFocalLoss


def test_recorded_focal_loss(golden_ops):
    want = golden_ops['losses']['focal']
    # The record has queries of several classes: each class becomes a query of a model with one class.
    logits, positive = want['inputs'].flatten(1)[None, ..., None], want['targets'].flatten(1)[None]
    labels = torch.where(positive > 0, 0, 1)
    loss = QueryFocalLoss()(logits, labels, torch.tensor(want['num_boxes']))
    # It divides by the number of queries, which its criterion multiplies back.
    expected = want['output'] * want['inputs'].shape[1]
    torch.testing.assert_close(loss, torch.tensor([expected]), rtol=1e-5, atol=1e-6)


def test_focal_loss_per_stage():
    logits, labels = torch.randn(3, 2, 7, 5), torch.randint(6, (3, 2, 7))
    loss = QueryFocalLoss(loss_weight=4.0)(logits, labels, torch.tensor(2.5))
    for stage in range(3):
        single = QueryFocalLoss()(logits[stage : stage + 1], labels[stage : stage + 1], torch.tensor(1.0))
        torch.testing.assert_close(loss[stage], 4 * single[0] / 2.5)


def test_focal_loss_by_its_definition():
    logits, labels = torch.tensor([[[[0.3, -1.2]]]]), torch.tensor([[[1]]])
    p = logits[0, 0, 0].sigmoid()
    expected = 0.75 * p[0] ** 2 * -(1 - p[0]).log() + 0.25 * (1 - p[1]) ** 2 * -p[1].log()
    torch.testing.assert_close(QueryFocalLoss()(logits, labels, torch.tensor(1.0))[0], expected)


def test_cross_entropy_is_the_weighted_mean_of_each_stage():
    logits, labels = torch.randn(3, 2, 7, 6), torch.randint(6, (3, 2, 7))
    loss = QueryCrossEntropyLoss(no_object_weight=0.1, loss_weight=2.0)(logits, labels, torch.tensor(9.0))
    weight = torch.tensor([1.0] * 5 + [0.1])
    for stage in range(3):
        expected = 2 * F.cross_entropy(logits[stage].flatten(0, 1), labels[stage].flatten(), weight)
        torch.testing.assert_close(loss[stage], expected)


def test_a_loss_brings_its_columns_and_its_prior():
    assert (QueryFocalLoss.num_extra_channels, QueryCrossEntropyLoss.num_extra_channels) == (0, 1)
    assert QueryFocalLoss().prior_prob == 0.01
    assert QueryFocalLoss(prior_prob=None).prior_prob is None
    assert QueryCrossEntropyLoss().prior_prob is None


@pytest.mark.parametrize('name', ['QueryFocalLoss', 'QueryCrossEntropyLoss', 'PositionSupervisedFocalLoss'])
def test_unknown_key_is_rejected(name):
    with pytest.raises(TypeError, match='weights'):
        MODELS.build(dict(type=name, weights=1.0))


def test_defaults_of_the_cross_entropy():
    loss = QueryCrossEntropyLoss()
    assert (loss.no_object_weight, loss.loss_weight) == (0.1, 1.0)


def test_targets_of_positions():
    """Two matched queries of IoU 0.5 and 0.4: their targets are 1 and 0.4^2 / 0.5^2; others are not asked."""
    logits, labels = torch.tensor([[[[0.3, -1.2], [0.8, 0.1], [-0.5, 0.2]]]]), torch.tensor([[[1, 0, 2]]])
    overlaps = torch.tensor([[[0.5, 0.4, 0.0]]])
    p, targets = logits[0, 0].sigmoid(), torch.tensor([[0, 1], [0.64, 0], [0, 0]])
    bce = -(targets * p.log() + (1 - targets) * (1 - p).log())
    alpha = torch.tensor([[0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])  # by the label, whatever the target
    expected = 3 * (alpha * (targets - p) ** 2 * bce).sum() / 2
    loss = PositionSupervisedFocalLoss(loss_weight=3.0)
    torch.testing.assert_close(loss(logits, labels, torch.tensor(2.0), overlaps)[0], expected)


def test_plain_where_positions_say_nothing():
    logits, labels = torch.randn(3, 2, 7, 5), torch.randint(6, (3, 2, 7))
    loss, num_objects = PositionSupervisedFocalLoss(), torch.tensor(2.0)
    plain = QueryFocalLoss()(logits, labels, num_objects)
    assert torch.equal(loss(logits, labels, num_objects), plain)  # denoising
    without_box = torch.full(labels.shape, torch.nan)
    torch.testing.assert_close(loss(logits, labels, num_objects, without_box), plain)
    nothing = torch.full_like(labels, 5)
    torch.testing.assert_close(
        loss(logits, nothing, num_objects, torch.zeros(labels.shape)), QueryFocalLoss()(logits, nothing, num_objects)
    )


def test_stuff_does_not_set_the_scale_of_things():
    logits, labels = torch.zeros(1, 1, 2, 2), torch.tensor([[[0, 1]]])
    with_stuff = PositionSupervisedFocalLoss()(logits, labels, torch.tensor(1.0), torch.tensor([[[0.2, torch.nan]]]))
    torch.testing.assert_close(with_stuff, QueryFocalLoss()(logits, labels, torch.tensor(1.0)))


def test_a_query_that_overlaps_nothing():
    logits, labels = torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1).long()
    loss = PositionSupervisedFocalLoss()(logits, labels, torch.tensor(1.0), torch.zeros(1, 1, 1))
    torch.testing.assert_close(loss, 0.25 * 0.25 * torch.tensor([2.0]).log())
