import copy

import pytest
import torch
from mmcv.cnn import build_norm_layer
from mmengine.registry import DefaultScope
from torch import nn

from mmmaskdino.models.backbones import LeanBatchNorm


@pytest.fixture
def norms():
    """A frozen one, and torch's with the same state."""
    lean = LeanBatchNorm(4, eps=1e-3).eval().requires_grad_(False)
    for tensor in (lean.weight, lean.bias, lean.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(lean.running_var, 0.1, 2.0)
    plain = nn.BatchNorm2d(4, eps=1e-3).eval().requires_grad_(False)
    plain.load_state_dict(lean.state_dict())
    return lean, plain


def run(norm, x):
    """Result, gradient of the input, and sizes of what is kept."""
    x, kept = x.detach().requires_grad_(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        result = norm(x)
        (grad,) = torch.autograd.grad((result.relu_() ** 2).sum(), x)
    return result, grad, kept


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_same_as_torch_and_keeps_no_map(norms, dtype):
    x = torch.randn(2, 4, 5, 6).to(dtype)
    (got, grad, kept), (want, want_grad, plainly_kept) = (run(norm, x) for norm in norms)
    assert torch.equal(got, want)
    assert grad.dtype == dtype
    torch.testing.assert_close(grad, want_grad, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-5)
    assert kept.count(x.numel()) == plainly_kept.count(x.numel()) - 1


def test_trains_as_torch(norms):
    x = torch.randn(2, 4, 5, 6)
    for norm in norms:
        norm.requires_grad_(True)
    for training in (False, True):
        found = []
        for norm in norms:
            norm.train(training).zero_grad()
            norm(x).square().sum().backward()
            found.append([norm.weight.grad, norm.bias.grad, norm.running_mean.clone(), norm.running_var.clone()])
        torch.testing.assert_close(*found)


def test_without_gradient_nothing_is_kept(norms):
    x = torch.randn(2, 4, 5, 6)
    with torch.no_grad():
        assert torch.equal(norms[0](x), norms[1](x)) and not norms[0](x).requires_grad


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_norm_of_a_config_in_either_scope(scope):
    with DefaultScope.overwrite_default_scope(scope):
        name, norm = build_norm_layer(dict(type='LeanBatchNorm', requires_grad=False), 4, postfix=1)
    assert name == 'bn1' and isinstance(norm, LeanBatchNorm) and not norm.weight.requires_grad


def test_synchronised_where_that_is_asked_for(norms):
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(norms[0]))
    assert isinstance(converted, nn.SyncBatchNorm) and torch.equal(converted.weight, norms[0].weight)
