"""The operators that compilers see. mmcv's runs on GPUs alone: here its place is taken by mmcv's plain function."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

from mmmaskdino.models.layers import DeformableAttention
from mmmaskdino.ops import deform_attn, deform_attn_compile
from mmmaskdino.ops.deform_attn import sample_attention
from mmmaskdino.structures import Memory

pytestmark = pytest.mark.skipif(not hasattr(torch.library, 'custom_op'), reason='needs torch 2.4')
SHAPES = ((4, 6), (2, 3))


@pytest.fixture(autouse=True)
def plain_functions(monkeypatch):
    """With the interface of mmcv's two compiled functions."""

    def forward(value, shapes, starts, locations, weights, im2col_step):
        return multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)

    def differentiate(value, shapes, locations, weights, grad):
        inputs = [x.detach().requires_grad_() for x in (value, locations, weights)]
        return torch.autograd.grad(forward(inputs[0], shapes, None, *inputs[1:], 64), inputs, grad)

    def backward(value, shapes, starts, locations, weights, grad, *grads, im2col_step):
        with ThreadPoolExecutor(1) as pool:  # autograd is switched off in this thread, inside of an operator
            found = pool.submit(differentiate, value, shapes, locations, weights, grad).result()
        for place, values in zip(grads, found, strict=True):
            place += values

    functions = SimpleNamespace(ms_deform_attn_forward=forward, ms_deform_attn_backward=backward)
    monkeypatch.setattr(deform_attn_compile, '_EXT', functions)
    monkeypatch.setattr(deform_attn, '_mmcv_runs_on', lambda value: True)


def arguments():
    value = torch.randn(2, 30, 4, 8, requires_grad=True)
    locations = torch.rand(2, 11, 4, 2, 3, 2, requires_grad=True)
    return value, locations, torch.rand(2, 11, 4, 2, 3, requires_grad=True)


def test_registered_as_torch_demands():
    value, locations, weights = arguments()
    tensors = value, torch.tensor(SHAPES), torch.tensor([0, 24]), locations, weights
    torch.library.opcheck(torch.ops.mmmaskdino.deformable_attention.default, tensors)
    sizes = [size for shape in SHAPES for size in shape]
    torch.library.opcheck(torch.ops.mmmaskdino.sample_rows.default, (value, locations, weights, sizes))


def test_one_graph_on_the_host(monkeypatch):
    monkeypatch.setattr(deform_attn, '_mmcv_runs_on', lambda value: False)
    inputs, grad = arguments(), torch.randn(2, 11, 32)
    compiled = torch.compile(lambda v, x, w: sample_attention(v, SHAPES, x, w), backend='aot_eager', fullgraph=True)
    found, expected = compiled(*inputs), sample_attention(inputs[0], SHAPES, *inputs[1:])
    assert torch.equal(found, expected)
    for got, want in zip(*(torch.autograd.grad(x, inputs, grad) for x in (found, expected)), strict=True):
        assert torch.equal(got, want)


def test_one_graph_with_the_same_results_and_gradients(monkeypatch):
    inputs = arguments()
    grad = torch.randn(2, 11, 32)
    calls = []
    function = deform_attn_compile._EXT.ms_deform_attn_forward
    deform_attn_compile._EXT.ms_deform_attn_forward = lambda *args, **kwargs: (
        calls.append(kwargs) or function(*args, **kwargs)
    )
    compiled = torch.compile(lambda v, x, w: sample_attention(v, SHAPES, x, w), backend='aot_eager', fullgraph=True)
    found = compiled(*inputs)
    assert calls == [dict(im2col_step=2)]
    monkeypatch.setattr(deform_attn, '_mmcv_runs_on', lambda value: False)
    expected = sample_attention(inputs[0], SHAPES, *inputs[1:])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for got, want in zip(*(torch.autograd.grad(x, inputs, grad) for x in (found, expected)), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)


def test_the_module_is_one_graph_for_all_sizes():
    attention = DeformableAttention(32, 4, 2, 2)
    compiled = torch.compile(attention, backend='eager', fullgraph=True, dynamic=True)
    for shapes in (SHAPES, ((6, 8), (3, 4))):
        memory = Memory(torch.randn(2, sum(h * w for h, w in shapes), 32), shapes, None)
        queries, references = torch.randn(2, 5, 32), torch.rand(2, 5, 4)
        found = compiled(queries, references, memory)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(deform_attn, '_mmcv_runs_on', lambda value: False)
            expected = attention(queries, references, memory)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
