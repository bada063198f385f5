import pytest
import torch

from mmmaskdino.models.layers import deformable_attention
from mmmaskdino.models.layers.deformable_attention import sample_attention, sample_grid
from mmmaskdino.models.layers.row_sampling import sample_rows

SHAPES = [((5, 7),), ((8, 12), (4, 6), (2, 3), (1, 2)), ((4, 4), (1, 5), (1, 1))]


@pytest.fixture(params=SHAPES)
def problem(request):
    """Value, shapes, locations inside and far outside, weights."""
    shapes = request.param
    value = torch.randn(2, sum(h * w for h, w in shapes), 4, 8)
    locations = 2.5 * torch.rand(2, 11, 4, len(shapes), 3, 2) - 0.75
    return value, shapes, locations, torch.rand(2, 11, 4, len(shapes), 3)


def output_and_gradients(sample, value, shapes, locations, weights):
    inputs = [x.clone().requires_grad_() for x in (value, locations, weights)]
    output = sample(inputs[0], shapes, *inputs[1:])
    scale = torch.linspace(-1, 1, output.numel()).view_as(output)
    return output, *torch.autograd.grad((output * scale).sum(), inputs)


def test_same_as_grid_sampling(problem):
    for ours, theirs in zip(*(output_and_gradients(s, *problem) for s in (sample_rows, sample_grid)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_what_is_not_a_number_stays_one(problem):
    value, shapes, locations, weights = problem
    locations[0, 0], locations[1, 1] = torch.nan, torch.inf
    output, *grads = output_and_gradients(sample_rows, value, shapes, locations, weights)
    assert output[0, 0].isnan().all() and output[0, 1:].isfinite().all()
    assert grads[2][1, 2:].isfinite().all()


def test_compilers_see_grid_sampling(problem, monkeypatch):
    value, shapes, locations, weights = problem
    plain = sample_attention(value, shapes, locations, weights)
    monkeypatch.setattr(deformable_attention, 'is_traced', lambda: True)
    monkeypatch.delattr(deformable_attention, 'sample_rows')
    torch.testing.assert_close(sample_attention(value, shapes, locations, weights), plain, rtol=1e-4, atol=1e-5)
