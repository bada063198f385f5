import pytest
import torch

from mmmaskdino.ops.rows import RowScatter, sum_rows


@pytest.fixture(params=[torch.int32, torch.int64])
def problem(request):
    """Table (30, 8), rows and shares (11, 4); some rows are named often, the last never."""
    table = torch.randn(30, 8, dtype=torch.float64).requires_grad_()
    return table, torch.randint(0, 25, (11, 4), dtype=request.param), torch.rand(11, 4, dtype=torch.float64)


def test_sum_and_gradient(problem):
    table, rows, shares = problem
    got = sum_rows(table, rows, shares)
    torch.testing.assert_close(got, (table[rows.long()] * shares[..., None]).sum(1))
    assert torch.autograd.gradcheck(lambda t: sum_rows(t, rows, shares), table)


def test_scatter_is_the_transpose(problem):
    table, rows, shares = problem
    grads = torch.randn(11, 8, dtype=torch.float64)
    dense = torch.zeros(11, 30, dtype=torch.float64).scatter_add_(1, rows.long(), shares)
    torch.testing.assert_close(RowScatter.of(rows, shares, 30).add_up(grads), dense.T @ grads)


def test_nothing_to_sum():
    table = torch.randn(30, 0, requires_grad=True)
    rows, shares = torch.zeros(5, 4, dtype=torch.int32), torch.rand(5, 4)
    total = sum_rows(table, rows, shares)
    assert total.shape == (5, 0)
    total.sum().backward()
    assert table.grad.shape == (30, 0)
