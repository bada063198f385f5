import pytest
import torch
import torch.nn.functional as F

from mmmaskdino.models.losses import AutogradPointLoss, PointBCELoss, PointSampler, sampled_losses
from mmmaskdino.models.losses.sampled_losses import MaskTask, sampled_mask_losses
from mmmaskdino.models.utils import PointFeatures
from mmmaskdino.ops import device


def square(logits, masks, reduction_override):
    return ((logits - masks) ** 2).sum(-1)


LOSSES = dict(bce=PointBCELoss(), square=AutogradPointLoss(square))
PLAIN = dict(
    bce=lambda logits, masks: F.binary_cross_entropy_with_logits(logits, masks, reduction='none').mean(-1),
    square=lambda logits, masks: square(logits, masks, 'none'),
)


# Many points: maps of the logits are sampled; a large map: its features are.
@pytest.fixture(params=[(8, 12), (40, 60)])
def problem(request):
    """Embeddings of 7 masks, features, the points, and all that they are compared with."""
    sampler = PointSampler(num_points=200, oversample_ratio=3.0, importance_sample_ratio=0.75)
    points = sampler.draw(1, torch.device('cpu'))[0]
    features = torch.randn(16, *request.param, requires_grad=True)
    embeds, objects = torch.randn(7, 16, requires_grad=True), torch.tensor([0, 2, 1, 1, 0, 2, 2])
    return sampler, points, features, embeds, torch.rand(3, len(points)), objects


def plain(sampler, points, features, embeds, masks, objects):
    """The same without saving memory."""
    logits = PointFeatures.sample(features, points).logits(embeds)
    index = sampler.select(logits)
    logits, wanted = logits.gather(1, index), masks[objects].gather(1, index)
    return {name: loss(logits, wanted) for name, loss in PLAIN.items()}


@pytest.mark.parametrize('masks_at_a_time', [1, 3, 100])
def test_losses_and_gradients_are_the_plain_ones(problem, masks_at_a_time, monkeypatch):
    sampler, points, features, embeds, masks, objects = problem
    monkeypatch.setattr(device, 'HOST_VALUES', masks_at_a_time * 2 * len(points))
    task = MaskTask(PointFeatures.sample(features, points), masks, objects, sampler, LOSSES)
    # Each mask and each loss has a weight of its own in what follows.
    weights = {name: torch.rand(7) for name in LOSSES}
    found = []
    for losses in (sampled_mask_losses(embeds, task), plain(*problem)):
        total = sum((losses[name] * weights[name]).sum() for name in LOSSES)
        found.append([*losses.values(), *torch.autograd.grad(total, (embeds, features))])
    for got, expected in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(('num_masks', 'masks_at_a_time'), [(0, 3), (1, 3), (7, 3), (7, 1), (9, 3), (7, 0.5), (7, 2.5)])
def test_parts_are_as_few_as_stay_small_enough(problem, num_masks, masks_at_a_time, monkeypatch):
    sampler, points, features, _, masks, _ = problem
    monkeypatch.setattr(device, 'HOST_VALUES', int(masks_at_a_time * 2 * len(points)))
    objects = torch.zeros(num_masks).long()
    task = MaskTask(PointFeatures.sample(features, points), masks, objects, sampler, LOSSES)
    parts = [list(range(num_masks))[part] for part in task.parts()]
    most = max(1, int(masks_at_a_time))
    assert sum(parts, []) == list(range(num_masks)) and all(len(part) <= most for part in parts)
    assert len(parts) == max(1, -(-num_masks // most))


def test_a_loss_that_nothing_follows_from_has_no_say(problem):
    sampler, points, features, embeds, masks, objects = problem
    task = MaskTask(PointFeatures.sample(features, points), masks, objects, sampler, LOSSES)
    (got,) = torch.autograd.grad(sampled_mask_losses(embeds, task)['bce'].sum(), embeds)
    (expected,) = torch.autograd.grad(plain(*problem)['bce'].sum(), embeds)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_no_masks(problem):
    sampler, points, features, _, _, _ = problem
    embeds = torch.randn(0, 16, requires_grad=True)
    task = MaskTask(
        PointFeatures.sample(features, points), torch.rand(0, len(points)), torch.zeros(0).long(), sampler, LOSSES
    )
    losses = sampled_mask_losses(embeds, task)
    assert all(loss.shape == (0,) for loss in losses.values())
    sum(loss.sum() for loss in losses.values()).backward()
    assert embeds.grad.shape == (0, 16) and not features.grad.any()


def test_of_the_logits_only_the_chosen_are_kept(problem):
    sampler, points, features, embeds, masks, objects = problem
    task = MaskTask(PointFeatures.sample(features, points), masks, objects, sampler, LOSSES)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append((x.dtype, *x.shape)), lambda x: None):
        sampled_mask_losses(embeds, task)
    assert (torch.float32, 7, 200) in kept and (torch.int16, 7, 200) in kept
    assert not any(shape == [7, len(points)] for _, *shape in kept)


@pytest.mark.parametrize('num_points', [2**16, 2**16 + 1])
def test_the_last_point_is_found_again(num_points):
    """Indices are kept in as few bytes as hold them."""
    sampler = PointSampler(num_points=num_points, oversample_ratio=1.0, importance_sample_ratio=0.5)
    points = sampler.draw(1, torch.device('cpu'))[0]
    points[-1] = 0.5
    features, embeds = torch.zeros(1, 3, 3, requires_grad=True), torch.ones(1, 1, requires_grad=True)
    masks = torch.full((1, len(points)), 0.5)  # where it does not differ from the prediction, there is no gradient
    masks[0, -1] = 1
    task = MaskTask(PointFeatures.sample(features, points), masks, torch.zeros(1).long(), sampler, LOSSES)
    (got,) = torch.autograd.grad(sampled_mask_losses(embeds, task)['bce'].sum(), features)
    expected = torch.zeros(1, 3, 3)
    expected[0, 1, 1] = -0.5 / num_points
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize('num_points', [2**16, 2**16 + 1])
def test_indices_survive_the_small_type(num_points):
    index = torch.tensor([0, 2**15 - 1, 2**15, num_points - 1])
    kept = index.to(sampled_losses._narrow_type(num_points))
    assert kept.dtype == (torch.int16 if num_points == 2**16 else torch.int32)
    assert torch.equal(sampled_losses._widened(kept), index)
