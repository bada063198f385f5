import pytest
import torch
from mmdet.registry import MODELS

from mmmaskdino.models.losses import AutogradPointLoss
from mmmaskdino.models.losses.mask_losses import as_point_loss
from mmmaskdino.models.utils import PointLogits

MMDET = dict(
    bce=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=5.0),
    dice=dict(type='DiceLoss', naive_dice=True, eps=0.5, loss_weight=3.0),
)
OURS = dict(bce=dict(type='PointBCELoss', loss_weight=5.0), dice=dict(type='PointDiceLoss', eps=0.5, loss_weight=3.0))


@pytest.mark.parametrize('name', OURS)
@pytest.mark.parametrize('scale', [1, 30, 300])
def test_losses_and_gradients_are_those_of_mmdet(name, scale):
    ours, theirs = MODELS.build(OURS[name]), as_point_loss(MODELS.build(MMDET[name]))
    assert as_point_loss(ours) is ours and isinstance(theirs, AutogradPointLoss)
    points, masks, grads = PointLogits(scale * torch.randn(3, 50)), torch.rand(3, 50), torch.rand(3)
    torch.testing.assert_close(ours(points, masks), theirs(points, masks))
    torch.testing.assert_close(
        ours.gradient(points, masks, grads), theirs.gradient(points, masks, grads), rtol=1e-4, atol=1e-7
    )


@pytest.mark.parametrize('name', OURS)
def test_gradient_is_that_of_the_loss(name):
    loss = MODELS.build(OURS[name])
    logits, masks, grads = torch.randn(3, 5).double(), torch.rand(3, 5).double(), torch.rand(3).double()
    got = loss.gradient(PointLogits(logits), masks, grads)
    for column in range(5):
        step = torch.zeros(3, 5).double()
        step[:, column] = 1e-5
        higher, lower = (loss(PointLogits(logits + sign * step), masks) for sign in (1, -1))
        torch.testing.assert_close(got[:, column], grads * (higher - lower) / 2e-5, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize('name', OURS)
def test_the_weight_is_one_by_default(name):
    plain = MODELS.build(dict(OURS[name], loss_weight=1.0))
    default = MODELS.build({key: value for key, value in OURS[name].items() if key != 'loss_weight'})
    points, masks = PointLogits(torch.randn(3, 5)), torch.rand(3, 5)
    torch.testing.assert_close(default(points, masks), plain(points, masks))


@pytest.mark.parametrize('name', OURS)
def test_unknown_key_is_refused(name):
    with pytest.raises(TypeError, match='use_sigmoid'):
        MODELS.build(dict(OURS[name], use_sigmoid=True))
