import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS

from mmmaskdino.models.losses import QueryCrossEntropyLoss, QueryFocalLoss


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


@pytest.mark.parametrize('name', ['QueryFocalLoss', 'QueryCrossEntropyLoss'])
def test_unknown_key_is_rejected(name):
    with pytest.raises(TypeError, match='weights'):
        MODELS.build(dict(type=name, weights=1.0))


def test_defaults_of_the_cross_entropy():
    loss = QueryCrossEntropyLoss()
    assert (loss.no_object_weight, loss.loss_weight) == (0.1, 1.0)
