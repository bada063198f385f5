"""Weighted sums of the rows of a table, the fast way to interpolate many channels, and their gradients."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


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


class RowScatter(NamedTuple):
    """The transpose of :func:`sum_rows`: each row of the result adds up what the places (n, m) that name it weigh.

    torch's own gradient adds single rows in random order; with the places sorted, this too is a sum of rows.
    """

    sources: Tensor
    """(n * m,) int32 place of each term, by row of the result."""
    starts: Tensor
    """(num_rows,) int32 first term of each row."""
    shares: Tensor
    """(n * m,) weight of each term."""

    @classmethod
    def of(cls, rows: Tensor, shares: Tensor, num_rows: int) -> 'RowScatter':
        """Find the order of the terms.

        Args:
            rows (Tensor): (n, m) integer indices into the result.
            shares (Tensor): (n, m) weights.
            num_rows (int): Rows of the result.
        """
        order, places = rows.flatten().sort()
        found = torch.arange(num_rows, dtype=order.dtype, device=order.device)
        starts = torch.searchsorted(order, found, out_int32=True)
        sources = torch.arange(len(rows), dtype=torch.int32, device=rows.device)[:, None].expand_as(rows)
        sources, shares = (x.flatten().index_select(0, places) for x in (sources, shares))
        return cls(sources, starts, shares)

    def add_up(self, values: Tensor) -> Tensor:
        """(num_rows, dim) from values (n, dim), contiguous."""
        return F.embedding_bag(self.sources, values, self.starts, per_sample_weights=self.shares, mode='sum')


class _RowSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table: Tensor, rows: Tensor, shares: Tensor) -> Tensor:
        ctx.save_for_backward(rows, shares)
        ctx.num_rows = len(table)
        return F.embedding_bag(rows, table, per_sample_weights=shares, mode='sum')

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        return RowScatter.of(*ctx.saved_tensors, ctx.num_rows).add_up(grad.contiguous()), None, None
