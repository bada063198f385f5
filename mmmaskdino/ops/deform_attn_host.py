"""The sampling of deformable attention on the CPU: every bilinear sample is a weighted sum of four rows of a table.

``grid_sample`` reads each channel of a sample by itself. A row of the table holds all channels of a head side by side,
so adding up whole rows (an embedding bag) reads the same numbers several times faster and keeps no tensor of samples.
"""

import warnings
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmmaskdino.structures import Shape

from .rows import RowScatter


class Levels(NamedTuple):
    """What each of the ``m`` samples (level and point) of a query and head needs to know of its level."""

    sizes: Tensor
    """(2, 1, m) float32 width and height."""
    last: Tensor
    """(2, 1, m) int32 last cell along x and y that has another after it, or the only one."""
    exists: Tensor | None
    """(2, 2, 1, m) float32: 1, and 0 for the cell after the only one along x or y; None where all have a next one."""
    strides: Tensor
    """(2, m) int32 rows of the table per cell along x and y."""
    corners: Tensor
    """(4, m) int32 rows from the level's lower cell to the four: along neither axis, x, y, both; before that, the
    level's first row."""

    @classmethod
    @lru_cache(maxsize=64)
    @torch.inference_mode(False)
    def from_shapes(cls, spatial_shapes: tuple[Shape, ...], num_samples: int, num_heads: int) -> 'Levels':
        """Of a table whose rows are ordered by token, then head; ``num_samples`` per level."""
        columns, start = [], 0
        for h, w in spatial_shapes:
            # Where there is no next cell, it has no weight either, and its row is any that exists.
            x, y = num_heads * (w > 1), num_heads * w * (h > 1)
            columns.append((w, h, w > 1, h > 1, num_heads, num_heads * w, start, start + x, start + y, start + x + y))
            start += num_heads * h * w
        rows = torch.tensor(columns, dtype=torch.int32).repeat_interleave(num_samples, 0).T.contiguous()
        sizes, has_next, strides, corners = rows.split([2, 2, 2, 4])
        exists = None
        if any(1 in shape for shape in spatial_shapes):
            exists = torch.stack([torch.ones_like(has_next), has_next])[:, :, None].float()
        return cls(sizes[:, None].float(), (sizes - 2).clamp(min=0)[:, None], exists, strides, corners)


class Neighbours(NamedTuple):
    """The four cells around each location of ``n`` queries and heads with ``m`` samples each."""

    rows: Tensor
    """(n, 4, m) int32 rows of the table: at (low y, low x), (low, high), (high, low) and (high, high)."""
    distances: Tensor
    """(2, 2, n, m) from the low and the high cell's centre to the location, along x and along y, in cells."""
    weights: Tensor
    """(2, 2, n, m) what they weigh along that axis; 0 outside the map."""

    def shares(self) -> Tensor:
        """(n, 4, m) bilinear weight of each cell."""
        x, y = self.weights.unbind(1)
        return (y[:, None] * x).permute(2, 0, 1, 3).flatten(1, 2)


def sample_rows(value: Tensor, spatial_shapes: tuple[Shape, ...], locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of bilinear samples; float32 arguments and result as of :func:`sample_attention`."""
    return _RowSampling.apply(value, locations, weights, spatial_shapes)


class _RowSampling(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor, locations: Tensor, weights: Tensor, spatial_shapes: tuple[Shape, ...]) -> Tensor:
        ctx.spatial_shapes = spatial_shapes
        # The neighbours are eight times as many numbers as the locations, and quickly found again.
        ctx.save_for_backward(value, locations, weights)
        return sum_samples(value, locations, weights, spatial_shapes)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        return *sample_gradients(grad, *ctx.saved_tensors, ctx.spatial_shapes), None


def sum_samples(value: Tensor, locations: Tensor, weights: Tensor, spatial_shapes: tuple[Shape, ...]) -> Tensor:
    """:func:`sample_rows` without a gradient."""
    found = find_neighbours(value, locations, Levels.from_shapes(spatial_shapes, locations.shape[4], value.shape[2]))
    shares = (found.shares() * _per_corner(weights)).flatten(1)
    output = F.embedding_bag(found.rows.flatten(1), _table(value), per_sample_weights=shares, mode='sum')
    return output.view(*locations.shape[:2], -1)


def sample_gradients(
    grad: Tensor, value: Tensor, locations: Tensor, weights: Tensor, spatial_shapes: tuple[Shape, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, locations and weights from that of the result."""
    levels = Levels.from_shapes(spatial_shapes, locations.shape[4], value.shape[2])
    found = find_neighbours(value, locations, levels)
    table, grad = _table(value), grad.reshape(-1, value.shape[-1]).contiguous()
    shares, attention, rows = found.shares(), _per_corner(weights), found.rows.flatten(1)
    grad_value = RowScatter.of(rows, shares * attention, len(table)).add_up(grad)
    products = _dot_rows(rows, grad, table).view_as(shares)
    grad_weights = (products * shares).sum(1)
    grad_locations = _position_gradient(found, products * attention, levels) * levels.sizes
    grad_locations = grad_locations.permute(1, 2, 0).reshape(*weights.shape, 2)
    return grad_value.view_as(value), grad_locations, grad_weights.view_as(weights)


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
    positions = locations.reshape(-1, levels.sizes.shape[-1], 2).permute(2, 0, 1).contiguous() * levels.sizes - 0.5
    # The low cell is always inside the map, with another after it where there is one; cells that are farther away than
    # one weigh nothing. Whatever is not a number (a diverged training) still names a row that exists.
    cells = positions.floor().int().clamp(torch.zeros_like(levels.last), levels.last)
    distances = positions - cells
    distances = torch.stack([distances, distances - 1])
    weights = (1 - distances.abs()).relu_()
    if levels.exists is not None:
        weights *= levels.exists

    x, y = cells * levels.strides[:, None]
    first = _first_rows(bs, locations.shape[1], num_heads, num_points)
    rows = (x + y + first)[:, None] + levels.corners
    return Neighbours(rows, distances, weights)


def _first_rows(bs: int, num_queries: int, num_heads: int, num_points: int) -> Tensor:
    """(bs * num_queries * num_heads, 1) int32: the row of a query's image and head before all tokens."""
    heads = torch.arange(num_heads, dtype=torch.int32)
    images = torch.arange(bs, dtype=torch.int32) * (num_points * num_heads)
    return (images[:, None, None] + heads).expand(-1, num_queries, -1).reshape(-1, 1)


def _table(value: Tensor) -> Tensor:
    """(bs * num_points * num_heads, head_dim)."""
    return value.reshape(-1, value.shape[-1])


def _per_corner(weights: Tensor) -> Tensor:
    """(n, 1, m) from (bs, num_queries, num_heads, num_levels, num_samples)."""
    return weights.reshape(-1, 1, weights.shape[3:].numel())


def _dot_rows(rows: Tensor, queries: Tensor, table: Tensor) -> Tensor:
    """Products (n * m,) of queries (n, dim) with those rows (n, m) of a table."""
    n, m = rows.shape
    starts = torch.arange(0, n * m + 1, m, dtype=torch.int32)
    with warnings.catch_warnings():  # sparse tensors are said to be in beta; their indices are right by construction
        warnings.filterwarnings('ignore', 'Sparse (CSR tensor support is in beta|invariant checks are implicitly)')
        chosen = torch.sparse_csr_tensor(
            starts, rows.flatten(), table.new_zeros(n * m), (n, len(table)), check_invariants=False
        )
    return torch.sparse.sampled_addmm(chosen, queries, table.T, beta=0.0).values()


def _position_gradient(found: Neighbours, products: Tensor, levels: Levels) -> Tensor:
    """(2, n, m) derivative with respect to the positions in cells, from that of the cells' weights (n, 4, m)."""
    products = products.unflatten(1, (2, 2))
    x, y = found.weights.transpose(0, 2).unbind(1)  # (n, 2, m) each
    of_weights = torch.stack([(products * y[:, :, None]).sum(1), (products * x[:, None]).sum(2)])
    # A weight falls from 1 at its cell's centre to 0 one cell away; at the centre it counts as falling.
    cell = found.distances.floor()
    slopes = (cell == -1).float() - (cell == 0).float()
    if levels.exists is not None:
        slopes *= levels.exists
    return (of_weights * slopes.permute(1, 2, 0, 3)).sum(2)
