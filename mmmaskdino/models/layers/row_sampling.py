"""The sampling of deformable attention on the host: every bilinear sample is a weighted sum of four rows of a table.

``grid_sample`` reads each channel of a sample by itself. A row of the table holds all channels of a head side by side,
so adding up whole rows (an embedding bag) reads the same numbers several times faster and keeps no tensor of samples.
"""

import warnings
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmaskdino.models.utils.rows import scatter_rows
from mmmaskdino.structures import Shape

# torch says so once per process. One sparse operation is used here, and its indices are right by construction.
warnings.filterwarnings('ignore', 'Sparse (CSR tensor support is in beta|invariant checks are implicitly disabled)')


class Levels(NamedTuple):
    """What each of the ``m`` samples (level and point) of a query and head needs to know of its level."""

    sizes: Tensor
    """(2, 1, m) float32 width and height."""
    has_next: Tensor
    """(2, 1, m) float32, 0 where a level has only one cell along x or y, else 1."""
    last: Tensor
    """(2, 1, m) int32 last cell that has one after it, or the only one."""
    starts: Tensor
    """(m,) int32 first row of the table."""
    steps: Tensor
    """(2, 1, m) int32 rows to the next cell; 0 where there is none."""

    @classmethod
    @lru_cache(maxsize=64)
    @torch.inference_mode(False)
    def from_shapes(cls, spatial_shapes: tuple[Shape, ...], num_samples: int, num_heads: int) -> 'Levels':
        """Of a table whose rows are ordered by token, then head; ``num_samples`` per level."""
        columns, start = [], 0
        for h, w in spatial_shapes:
            columns.append((w, h, start, num_heads * (w > 1), num_heads * w * (h > 1)))
            start += num_heads * h * w
        rows = torch.tensor(columns, dtype=torch.int32).repeat_interleave(num_samples, 0).T.contiguous()
        sizes, steps = rows[:2, None], rows[3:, None]
        return cls(sizes.float(), (steps > 0).float(), (sizes - 2).clamp(min=0), rows[2], steps)


class Neighbours(NamedTuple):
    """The four cells around each location of ``n`` queries and heads with ``m`` samples each."""

    rows: Tensor
    """(n, 4, m) int32 rows of the table: at (low y, low x), (low, high), (high, low) and (high, high)."""
    offsets: Tensor
    """(2, n, m) distance from the lower cell's centre in cells, along x and along y."""
    low: Tensor
    """(2, n, m) weight of the lower cell along each axis; 0 outside the map."""
    high: Tensor
    """(2, n, m) the same of the cell after it."""

    def shares(self) -> Tensor:
        """(n, 4, m) bilinear weight of each cell."""
        (low_x, low_y), (high_x, high_y) = self.low, self.high
        return torch.stack([low_y * low_x, low_y * high_x, high_y * low_x, high_y * high_x], 1)


def sample_rows(value: Tensor, spatial_shapes: tuple[Shape, ...], locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of bilinear samples; float32 arguments and result as of :func:`sample_attention`."""
    return _RowSampling.apply(value, locations, weights, spatial_shapes)


class _RowSampling(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor, locations: Tensor, weights: Tensor, spatial_shapes: tuple[Shape, ...]) -> Tensor:
        ctx.levels = levels = Levels.from_shapes(spatial_shapes, locations.shape[4], value.shape[2])
        found = find_neighbours(value, locations, levels)
        ctx.save_for_backward(value, weights, *found)
        shares = (found.shares() * _per_corner(weights)).flatten(1)
        output = F.embedding_bag(found.rows.flatten(1), _table(value), per_sample_weights=shares, mode='sum')
        return output.view(*locations.shape[:2], -1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        value, weights, *found = ctx.saved_tensors
        found = Neighbours(*found)
        table, grad = _table(value), grad.reshape(-1, value.shape[-1]).contiguous()
        shares, attention, rows = found.shares(), _per_corner(weights), found.rows.flatten(1)
        grad_value = scatter_rows(grad, rows, shares * attention, len(table))
        products = _dot_rows(rows, grad, table).view_as(shares)
        grad_weights = (products * shares).sum(1)
        grad_locations = _position_gradient(found, products * attention, ctx.levels) * ctx.levels.sizes
        grad_locations = grad_locations.permute(1, 2, 0).reshape(*weights.shape, 2)
        return grad_value.view_as(value), grad_locations, grad_weights.view_as(weights), None


def find_neighbours(value: Tensor, locations: Tensor, levels: Levels) -> Neighbours:
    """Rows and weights of the cells around each location.

    Args:
        value (Tensor): (bs, num_points, num_heads, head_dim), the table.
        locations (Tensor): (bs, num_queries, num_heads, num_levels, num_samples, 2), (x, y) in [0, 1].
        levels (Levels): Of the same samples.

    Returns:
        Neighbours: Of the queries and heads in the order of ``locations``.
    """
    bs, num_points, num_heads, _ = value.shape
    positions = locations.flatten(3, 4).flatten(0, 2).permute(2, 0, 1).contiguous() * levels.sizes - 0.5
    # The lower cell is always inside the map, with another after it where there is one; cells that are farther away
    # than one weigh nothing. Whatever is not a number (a diverged training) still names a row that exists.
    cells = positions.floor().int().clamp(torch.zeros_like(levels.last), levels.last)
    offsets = positions - cells
    low = (1 - offsets.abs()).relu()
    high = (1 - (offsets - 1).abs()).relu() * levels.has_next

    heads = torch.arange(num_heads, dtype=torch.int32)
    images = torch.arange(bs, dtype=torch.int32) * (num_points * num_heads)
    first = (images[:, None, None] + heads).expand(bs, locations.shape[1], num_heads).reshape(-1, 1)
    step_x, step_y = levels.steps
    corner = cells[0] * num_heads + cells[1] * step_y + (first + levels.starts)
    rows = torch.stack([corner, corner + step_x, corner + step_y, corner + (step_x + step_y)], 1)
    return Neighbours(rows, offsets, low, high)


def _table(value: Tensor) -> Tensor:
    """(bs * num_points * num_heads, head_dim)."""
    return value.reshape(-1, value.shape[-1])


def _per_corner(weights: Tensor) -> Tensor:
    """(n, 1, m) from (bs, num_queries, num_heads, num_levels, num_samples)."""
    return weights.flatten(3).flatten(0, 2)[:, None]


def _dot_rows(rows: Tensor, queries: Tensor, table: Tensor) -> Tensor:
    """Products (n * m,) of queries (n, dim) with those rows (n, m) of a table."""
    n, m = rows.shape
    starts = torch.arange(0, n * m + 1, m, dtype=torch.int32)
    chosen = torch.sparse_csr_tensor(
        starts, rows.flatten(), table.new_zeros(n * m), (n, len(table)), check_invariants=False
    )
    return torch.sparse.sampled_addmm(chosen, queries, table.T, beta=0.0).values()


def _position_gradient(found: Neighbours, products: Tensor, levels: Levels) -> Tensor:
    """(2, n, m) derivative with respect to the positions in cells, from that of the cells' weights (n, 4, m)."""
    (low_x, low_y), (high_x, high_y) = found.low, found.high
    low_low, low_high, high_low, high_high = products.unbind(1)
    of_low = torch.stack([low_low * low_y + high_low * high_y, low_low * low_x + low_high * high_x])
    of_high = torch.stack([low_high * low_y + high_high * high_y, high_low * low_x + high_high * high_x])
    # A weight falls from 1 at its cell's centre to 0 one cell away; at the centre it counts as falling.
    cell = found.offsets.floor()
    before, between, after = ((cell == i).float() for i in (-1, 0, 1))
    return of_low * (before - between) + of_high * (between - after) * levels.has_next
