"""Mask logits that know their query's box."""

import pytest
import torch
from mmdet.registry import MODELS
from torch import nn

from mmmaskdino.models.layers import BoxPrior, PredictionHeads, decode_masks
from mmmaskdino.ops.points import PointFeatures

BOX = torch.tensor([[[0.5, 0.25, 0.4, 0.2]]])


def added(prior: BoxPrior, boxes=BOX, queries=None, shape=(10, 10)) -> torch.Tensor:
    """What the prior adds to the maps of queries."""
    queries = torch.zeros(*boxes.shape[:2], 8) if queries is None else queries
    return decode_masks(prior.embed(queries, boxes), prior.extend(torch.zeros(len(boxes), 0, *shape)))


def test_by_hand_before_training():
    # Cells of 0.1: the one with its centre at (0.55, 0.25) is a quarter of half the box's width from its middle.
    logits = added(BoxPrior(8, strength=2.0))[0, 0]
    assert logits[2, 5].item() == pytest.approx(2 * (1 - 0.25**2), abs=1e-5)
    assert logits[2, 7].item() == pytest.approx(2 * (1 - 1.25**2), abs=1e-5)
    assert logits[0, 5].item() == pytest.approx(2 * (1 - 0.25**2 - 2**2), abs=1e-4)


def test_weights_of_the_query_by_hand():
    prior = BoxPrior(2)
    with torch.no_grad():
        prior.weigh.weight[:] = torch.tensor([[1.0, 0], [0, 2], [0, 0], [-1000, 0], [3, 0]])
    # Slopes 1 and 2, no square downwards, an offset of 3 on top of 1; the square sidewards stays 1.
    logits = added(prior, queries=torch.ones(1, 1, 2))[0, 0]
    u, v = 1.25, (0.45 - 0.25) / 0.1
    assert logits[4, 7].item() == pytest.approx(u + 2 * v - u**2 + 4, abs=1e-4)


def test_small_boxes_stay_exact_and_finite():
    box = torch.tensor([[[0.9, 0.9, 0.02, 0.02], [0.9, 0.9, 0.0, 0.0]]])
    logits = added(BoxPrior(8), box, shape=(200, 200))[0]
    u = (0.9025 - 0.9) / 0.01
    assert logits[0, 180, 180].item() == pytest.approx(1 - 2 * u**2, abs=0.01)
    assert logits.isfinite().all() and logits[1].min() > -1e6


def test_boxes_get_no_gradient_and_queries_do():
    boxes, queries = BOX.clone().requires_grad_(), torch.randn(1, 1, 8, requires_grad=True)
    prior = BoxPrior(8)
    nn.init.normal_(prior.weigh.weight)
    added(prior, boxes, queries).sum().backward()
    assert boxes.grad is None and queries.grad.abs().sum() > 0 and prior.weigh.bias.grad.abs().sum() > 0


def test_sampled_and_decoded_masks_agree():
    heads = PredictionHeads(8, 3, 6, 0.01, BoxPrior(8))
    stage = heads.predict(torch.randn(1, 4, 8), torch.rand(1, 4, 4))
    features = heads.box_prior.extend(torch.randn(1, 6, 12, 16))
    assert stage.mask_embeds.shape == (1, 4, 11) and features.shape == (1, 11, 12, 16)
    centers = torch.tensor([[0.5 / 16, 0.5 / 12], [9.5 / 16, 7.5 / 12]])
    sampled = PointFeatures.sample(features[0], centers).logits(stage.mask_embeds[0])
    masks = decode_masks(stage.mask_embeds, features)[0]
    torch.testing.assert_close(sampled, masks[:, [0, 7], [0, 9]], rtol=1e-4, atol=1e-3)


def test_half_precision_keeps_the_prior():
    prior, box = BoxPrior(8), torch.tensor([[[0.9, 0.1, 0.02, 0.02]]])
    exact = added(prior, box)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(added(prior, box, torch.zeros(1, 1, 8, dtype=torch.bfloat16)), exact)


@pytest.mark.parametrize('settings', [dict(strength=0.0), dict(smallest=0.0), dict(smallest=1.5)])
def test_rejected_settings(settings):
    with pytest.raises(ValueError, match='box_prior needs strength > 0 and smallest in'):
        BoxPrior(8, **settings)


def test_unknown_key():
    with pytest.raises(TypeError, match='sharpness'):
        MODELS.build(dict(type='BoxPrior', dim=8, sharpness=1))
