"""Which parts are compiled."""

from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import HOOKS
from torch import nn

import mmmaskdino  # noqa: F401


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.pixel_decoder, self.decoder, self.criterion = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)


def make_model(head):
    model = nn.Module()
    model.backbone = nn.Linear(3, 3)
    setattr(model, head, Head())
    return model


def run(model, **options):
    hook = HOOKS.build(dict(type='CompileHook', **options))
    hook.before_run(SimpleNamespace(model=model))
    return {name for name, module in model.named_modules() if module._compiled_call_impl is not None}


@pytest.mark.parametrize('head', ['panoptic_head', 'decode_head'])
def test_network_is_compiled_and_losses_are_not(head):
    model = make_model(head)
    names = list(model.state_dict())
    assert run(model, backend='eager') == {'backbone', f'{head}.pixel_decoder', f'{head}.decoder'}
    assert list(model.state_dict()) == names
    x = torch.randn(2, 3)
    torch.testing.assert_close(model.backbone(x), model.backbone.forward(x))


def test_chosen_parts():
    assert run(make_model('panoptic_head'), parts=['panoptic_head.criterion']) == {'panoptic_head.criterion'}


def test_unknown_part_is_rejected():
    with pytest.raises(ValueError, match=r"no 'neck'; parts are dotted names below \['backbone', 'panoptic_head'\]"):
        run(make_model('panoptic_head'), parts=['neck'])


def test_unknown_option_is_rejected():
    with pytest.raises(TypeError, match='speed'):
        model = make_model('panoptic_head')
        run(model, speed='high')
        model.backbone(torch.randn(2, 3))
