import pytest
import torch
from mmdet.registry import MODELS
from torch import nn

from mmmaskdino.models.losses import PointSampler
from mmmaskdino.models.losses import mask_losses as module
from mmmaskdino.models.losses.mask_losses import mask_losses
from mmmaskdino.ops.points import PointFeatures

MMDET = dict(
    bce=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=5.0),
    dice=dict(type='DiceLoss', naive_dice=True, eps=0.5, loss_weight=3.0),
)
OURS = dict(bce=dict(type='PointBCELoss', loss_weight=5.0), dice=dict(type='PointDiceLoss', eps=0.5, loss_weight=3.0))


class Scaled(nn.Module):
    """A loss per mask with a parameter."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, logits, masks, reduction_override):
        return ((self.scale * logits - masks) ** 2).sum(1)


@pytest.fixture
def problem():
    """Arguments of ``mask_losses`` but for the losses."""
    sampler = PointSampler(num_points=50, oversample_ratio=3.0, importance_sample_ratio=0.75)
    points, features = sampler.draw(1, torch.device('cpu'))[0], torch.randn(16, 8, 12, requires_grad=True)
    embeds, objects = torch.randn(7, 16, requires_grad=True), torch.tensor([0, 2, 1, 1, 0, 2, 2])
    return embeds, PointFeatures.sample(features, points), torch.rand(3, len(points)), objects, sampler


@pytest.mark.parametrize('name', OURS)
@pytest.mark.parametrize('scale', [1, 30, 300])
def test_losses_and_gradients_are_those_of_mmdet(name, scale):
    logits, masks, found = scale * torch.randn(3, 50), torch.rand(3, 50), []
    for config in (OURS[name], MMDET[name]):
        given = logits.clone().requires_grad_()
        losses = MODELS.build(config)(given, masks, reduction_override='none')
        losses = losses.mean(1) if losses.dim() == 2 else losses
        found.append((losses, *torch.autograd.grad((losses * torch.arange(1.0, 4)).sum(), given)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_losses_of_mmdet_in_place_of_ours(problem):
    """They take the plain way, per point or per mask."""
    found = [mask_losses(*problem, {name: MODELS.build(c) for name, c in all.items()}) for all in (OURS, MMDET)]
    for name in OURS:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-4, atol=1e-5)


def test_a_loss_that_learns(problem):
    loss = Scaled()
    mask_losses(*problem, dict(scaled=loss))['scaled'].sum().backward()
    assert loss.scale.grad != 0 and problem[0].grad.any()


def test_a_subclass_is_not_taken_for_the_loss_it_comes_from(problem):
    class Other(module.PointBCELoss):
        def forward(self, logits, masks, **kwargs):
            return 0 * logits.sum(1) + 7

    assert (mask_losses(*problem, dict(other=Other()))['other'] == 7).all()


def test_in_float32_whatever_autocast_says(problem):
    with torch.autocast('cpu', dtype=torch.bfloat16):
        for losses in (MODELS.build(OURS['bce']), Scaled()):
            assert mask_losses(*problem, dict(loss=losses))['loss'].dtype == torch.float32


@pytest.mark.parametrize('name', OURS)
def test_the_weight_is_one_by_default(name):
    plain = MODELS.build(dict(OURS[name], loss_weight=1.0))
    default = MODELS.build({key: value for key, value in OURS[name].items() if key != 'loss_weight'})
    logits, masks = torch.randn(3, 5), torch.rand(3, 5)
    torch.testing.assert_close(default(logits, masks), plain(logits, masks))


@pytest.mark.parametrize('name', OURS)
def test_unknown_key_is_rejected(name):
    with pytest.raises(TypeError, match='use_sigmoid'):
        MODELS.build(dict(OURS[name], use_sigmoid=True))
