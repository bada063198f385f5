import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

from mmmaskdino.ops import deform_attn
from mmmaskdino.ops.deform_attn import LevelTensors, sample_attention

SHAPES = ((4, 6), (2, 3))


@pytest.mark.parametrize('shapes', [((5, 7),), ((8, 12), (4, 6), (2, 3), (1, 2))])
def test_same_as_mmcv(shapes):
    num_points = sum(h * w for h, w in shapes)
    value = torch.randn(2, num_points, 4, 8)
    locations = 1.4 * torch.rand(2, 11, 4, len(shapes), 3, 2) - 0.2
    weights = torch.rand(2, 11, 4, len(shapes), 3)
    want = multi_scale_deformable_attn_pytorch(value, torch.tensor(shapes), locations, weights)
    torch.testing.assert_close(sample_attention(value, shapes, locations, weights), want, rtol=1e-5, atol=1e-6)


def arguments(bs=2, num_queries=11):
    value = torch.randn(bs, 30, 4, 8, requires_grad=True)
    locations = (2 * torch.rand(bs, num_queries, 4, 2, 3, 2) - 0.5).requires_grad_()
    return value, locations, torch.rand(bs, num_queries, 4, 2, 3, requires_grad=True)


@pytest.fixture
def mmcv_calls(monkeypatch):
    """Shapes of the arguments of mmcv's operator, whose place its plain function takes."""
    calls = []

    class Function:
        @staticmethod
        def apply(value, shapes, starts, locations, weights, im2col_step):
            assert starts.tolist() == [0, 24] and len(value) % min(len(value), im2col_step) == 0
            assert all(x.is_contiguous() for x in (value, locations, weights))
            calls.append((value.shape[0], locations.shape[1]))
            return multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)

    monkeypatch.setattr(deform_attn, 'MultiScaleDeformableAttnFunction', Function)
    monkeypatch.setattr(deform_attn, '_mmcv_runs_on', lambda value: True)
    return calls


def results(inputs, levels=None):
    output = sample_attention(inputs[0], SHAPES, *inputs[1:], levels)
    weights = torch.linspace(-1, 1, output.numel()).view_as(output)
    return output, *torch.autograd.grad((output * weights).sum(), inputs)


def assert_same(found, expected):
    for got, want in zip(found, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_the_operator_of_a_gpu(mmcv_calls, monkeypatch):
    inputs = arguments(bs=65)  # more than a step of the operator takes by default, and no multiple of it
    found = [results(inputs), results(inputs, LevelTensors.of(SHAPES, inputs[0]))]
    assert mmcv_calls == [(65, 11)] * 2
    monkeypatch.setattr(deform_attn, '_mmcv_runs_on', lambda value: False)
    for got in found:
        assert_same(got, results(inputs))


@pytest.mark.parametrize('limit', [30 * 4 * 8, 3 * 4 * 2 * 3 * 2, 2 * 11 * 4 * 2 * 3 * 2 - 1])
def test_more_numbers_than_its_kernel_can_count(mmcv_calls, monkeypatch, limit):
    limit = max(limit, 30 * 4 * 8)
    inputs = arguments(num_queries=50)
    monkeypatch.setattr(deform_attn, 'MOST_NUMBERS', limit)
    found = results(inputs)
    assert len(mmcv_calls) > 1 and sum(num for _, num in mmcv_calls) == 100
    assert all(bs == 1 and num * 4 * 2 * 3 * 2 <= limit for bs, num in mmcv_calls)
    monkeypatch.setattr(deform_attn, '_mmcv_runs_on', lambda value: False)
    assert_same(found, results(inputs))


def test_an_image_that_its_kernel_cannot_count(mmcv_calls, monkeypatch):
    monkeypatch.setattr(deform_attn, 'MOST_NUMBERS', 30 * 4 * 8 - 1)
    with pytest.raises(ValueError, match='30 tokens of 32 channels .* resize the image to fewer pixels'):
        results(arguments())
    assert not mmcv_calls


def test_devices_that_are_neither(monkeypatch):
    inputs = arguments()
    expected = results(inputs)
    monkeypatch.setattr(deform_attn, 'is_host', lambda value: False)
    monkeypatch.delattr(deform_attn, 'sample_rows')
    assert_same(results(inputs), expected)


def test_exporters_see_grid_sampling(monkeypatch):
    value, locations, weights = arguments()
    plain = sample_attention(value, SHAPES, locations, weights)
    monkeypatch.setattr(deform_attn, 'is_traced', lambda: True)
    monkeypatch.setattr(torch.jit, 'is_tracing', lambda: True)
    monkeypatch.delattr(deform_attn, 'sample_rows')
    torch.testing.assert_close(sample_attention(value, SHAPES, locations, weights), plain, rtol=1e-4, atol=1e-5)
