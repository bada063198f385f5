import pytest
import torch
import torch.nn.functional as F

from mmmaskdino.models.losses import PointBCELoss, PointDiceLoss, PointSampler
from mmmaskdino.models.losses import mask_losses as mask_losses_module
from mmmaskdino.models.losses.mask_losses import mask_losses, plain_mask_losses
from mmmaskdino.ops import device, mask_losses_host
from mmmaskdino.ops.mask_losses_host import BCE, Dice, MaskTask, PointLogits, host_mask_losses
from mmmaskdino.ops.points import PointFeatures

PLAIN = dict(bce=PointBCELoss(2.0), dice=PointDiceLoss(3.0, eps=0.5))
LOSSES = dict(bce=BCE(2.0), dice=Dice(3.0, eps=0.5))


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
    return plain_mask_losses(embeds, PointFeatures.sample(features, points), masks[objects], sampler, PLAIN)


def on_host(sampler, points, features, embeds, masks, objects):
    sampled = PointFeatures.sample(features, points)
    return host_mask_losses(embeds, sampled, masks, objects, sampler.select, LOSSES)


def by_device(sampler, points, features, embeds, masks, objects):
    """As all devices but the CPU do it: in parts that the backward pass computes again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mask_losses_module, 'runs_on', lambda tensor: False)
        return mask_losses(embeds, PointFeatures.sample(features, points), masks, objects, sampler, PLAIN)


@pytest.mark.parametrize('masks_at_a_time', [1, 3, 100])
@pytest.mark.parametrize('twin', [on_host, by_device])
def test_losses_and_gradients_are_the_plain_ones(problem, twin, masks_at_a_time, monkeypatch):
    sampler, points, features, embeds, masks, objects = problem
    monkeypatch.setattr(device, 'HOST_VALUES', masks_at_a_time * len(points))
    # Each mask and each loss has a weight of its own in what follows.
    weights = {name: torch.rand(7) for name in LOSSES}
    found = []
    for losses in (twin(*problem), plain(*problem)):
        total = sum((losses[name] * weights[name]).sum() for name in LOSSES)
        found.append([*losses.values(), *torch.autograd.grad(total, (embeds, features))])
    for got, expected in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(('num_masks', 'masks_at_a_time'), [(0, 3), (1, 3), (7, 3), (7, 1), (9, 3), (7, 0.5), (7, 2.5)])
def test_parts_are_as_few_as_stay_small_enough(problem, num_masks, masks_at_a_time, monkeypatch):
    sampler, points, features, _, masks, _ = problem
    monkeypatch.setattr(device, 'HOST_VALUES', int(masks_at_a_time * len(points)))
    objects = torch.zeros(num_masks).long()
    task = MaskTask(PointFeatures.sample(features, points), masks, objects, sampler.select, LOSSES)
    parts = [list(range(num_masks))[part] for part in task.parts()]
    most = max(1, int(masks_at_a_time))
    assert sum(parts, []) == list(range(num_masks)) and all(len(part) <= most for part in parts)
    assert len(parts) == max(1, -(-num_masks // most))


def test_a_loss_that_nothing_follows_from_has_no_say(problem):
    sampler, points, features, embeds, masks, objects = problem
    (got,) = torch.autograd.grad(on_host(*problem)['bce'].sum(), embeds)
    (expected,) = torch.autograd.grad(plain(*problem)['bce'].sum(), embeds)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('twin', [on_host, by_device])
def test_no_masks(problem, twin):
    sampler, points, features, _, _, _ = problem
    embeds = torch.randn(0, 16, requires_grad=True)
    losses = twin(sampler, points, features, embeds, torch.rand(0, len(points)), torch.zeros(0).long())
    assert all(loss.shape == (0,) for loss in losses.values())
    sum(loss.sum() for loss in losses.values()).backward()
    assert embeds.grad.shape == (0, 16) and not features.grad.any()


def test_of_the_logits_only_the_chosen_are_kept(problem):
    sampler, points, features, embeds, masks, objects = problem
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append((x.dtype, *x.shape)), lambda x: None):
        on_host(*problem)
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
    (got,) = torch.autograd.grad(
        on_host(sampler, points, features, embeds, masks, torch.zeros(1).long())['bce'], features
    )
    expected = torch.zeros(1, 3, 3)
    expected[0, 1, 1] = -0.5 * LOSSES['bce'].weight / num_points
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize('num_points', [2**16, 2**16 + 1])
def test_indices_survive_the_small_type(num_points):
    index = torch.tensor([0, 2**15 - 1, 2**15, num_points - 1])
    kept = index.to(mask_losses_host._narrow_type(num_points))
    assert kept.dtype == (torch.int16 if num_points == 2**16 else torch.int32)
    assert torch.equal(mask_losses_host._widened(kept), index)


def test_only_the_chosen_points_are_computed_again_on_a_device(problem):
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(tuple(x.shape)) or x, lambda x: x):
        by_device(*problem)
    assert not any(len(shape) == 2 and shape[0] == 7 and shape[1] >= 200 for shape in kept)


@pytest.mark.parametrize('formula', LOSSES.values(), ids=LOSSES)
def test_gradient_is_that_of_the_loss(formula):
    logits, masks, grads = torch.randn(3, 5).double(), torch.rand(3, 5).double(), torch.rand(3).double()
    got = formula.gradient(PointLogits(logits), masks, grads)
    for column in range(5):
        step = torch.zeros(3, 5).double()
        step[:, column] = 1e-5
        higher, lower = (formula.value(PointLogits(logits + sign * step), masks) for sign in (1, -1))
        torch.testing.assert_close(got[:, column], grads * (higher - lower) / 2e-5, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_softplus_and_probabilities(dtype):
    logits = torch.tensor([-1e4, -100.0, -80.0, -79.0, -20.0, -1.0, 0.0, 1e-3, 2.0, 30.0, 1e4])
    points = PointLogits(logits.to(dtype))
    torch.testing.assert_close(points.softplus(), F.softplus(points.logits), rtol=1e-6, atol=2e-6)
    torch.testing.assert_close(points.probabilities, points.logits.sigmoid(), rtol=1e-6, atol=1e-30)


def test_points_that_objects_look_at_first(problem):
    """Of 450 candidates, 40 for the first object, all for the second, and none for the third."""
    sampler, points, features, embeds, masks, objects = problem
    first = torch.zeros(3, len(points), dtype=torch.bool)
    first[0, :40] = first[1] = True
    sampled = PointFeatures.sample(features, points)
    index = sampler.select(sampled.logits(embeds.detach()), first[objects])
    assert all(set(range(40)) <= set(row.tolist()) for row in index[objects == 0])
    alike = sampler.select(sampled.logits(embeds.detach()))
    for row, other in zip(index[objects > 0], alike[objects > 0], strict=True):
        assert set(row.tolist()) == set(other.tolist())
    by_hand = plain_mask_losses(embeds, sampled, masks[objects], sampler, PLAIN, first[objects])
    twin = host_mask_losses(embeds, sampled, masks, objects, sampler.select, LOSSES, first)
    for name in LOSSES:
        torch.testing.assert_close(twin[name], by_hand[name], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(twin[name][0], plain(*problem)[name][0])
