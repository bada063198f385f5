import warnings

import pytest
import torch

from mmmaskdino.ops.deform_attn import sample_grid
from mmmaskdino.ops.deform_attn_host import sample_rows

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


def test_nothing_is_said_and_no_filter_is_left(problem):
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        filters = list(warnings.filters)
        output_and_gradients(sample_rows, *problem)
        assert warnings.filters == filters
    assert not said and warnings.filters == before
