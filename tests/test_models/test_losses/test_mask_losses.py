import pytest
import torch
from mmdet.registry import MODELS


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
def test_same_as_mmdet(reduction):
    logits, masks = 4 * torch.randn(3, 50), torch.rand(3, 50)
    ours = MODELS.build(dict(type='PointBCELoss', loss_weight=5.0))
    theirs = MODELS.build(dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=5.0))
    got, want = (loss(logits, masks, reduction_override=reduction) for loss in (ours, theirs))
    torch.testing.assert_close(got, want)


def test_unknown_key_is_refused():
    with pytest.raises(TypeError, match='use_sigmoid'):
        MODELS.build(dict(type='PointBCELoss', use_sigmoid=True))
