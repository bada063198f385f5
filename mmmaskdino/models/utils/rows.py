"""Weighted sums of the rows of a table, the fast way to interpolate many channels, and their gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sum_rows(table: Tensor, rows: Tensor, shares: Tensor) -> Tensor:
    """Weighted sums of rows; the gradient reaches the table alone.

    Args:
        table (Tensor): (num_rows, dim).
        rows (Tensor): (n, m) integer indices of rows.
        shares (Tensor): (n, m) their weights, of the type of the table.

    Returns:
        Tensor: (n, dim).
    """
    return _RowSum.apply(table, rows, shares)


def scatter_rows(grads: Tensor, rows: Tensor, shares: Tensor, num_rows: int) -> Tensor:
    """The transpose of :func:`sum_rows`: each row of the result adds up what the places (n, m) that name it weigh.

    Args:
        grads (Tensor): (n, dim), contiguous.
        rows (Tensor): (n, m) integer indices into the result.
        shares (Tensor): (n, m) weights.
        num_rows (int): Rows of the result.

    Returns:
        Tensor: (num_rows, dim).
    """
    # torch's own gradient adds single rows in random order; with the places sorted, this too is a sum of rows.
    order, places = rows.flatten().sort()
    starts = torch.searchsorted(order, torch.arange(num_rows, dtype=order.dtype, device=order.device), out_int32=True)
    sources = torch.arange(len(rows), dtype=torch.int32, device=rows.device)[:, None].expand_as(rows)
    sources, shares = (x.flatten().index_select(0, places) for x in (sources, shares))
    return F.embedding_bag(sources, grads, starts, per_sample_weights=shares, mode='sum')


class _RowSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table: Tensor, rows: Tensor, shares: Tensor) -> Tensor:
        ctx.save_for_backward(rows, shares)
        ctx.num_rows = len(table)
        return F.embedding_bag(rows, table, per_sample_weights=shares, mode='sum')

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        return scatter_rows(grad.contiguous(), *ctx.saved_tensors, ctx.num_rows), None, None
