"""Multi-scale deformable attention around mmcv's compiled operator."""

import math

import torch
import torch.nn.functional as F
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from mmengine.model import BaseModule, constant_init, xavier_init
from torch import Tensor, nn

from mmmaskdino.ops.device import from_host, is_traced
from mmmaskdino.structures import Memory, Shape

from .attention_operator import AVAILABLE, traceable_attention, traceable_rows
from .row_sampling import sample_rows


class DeformableAttention(BaseModule):
    """Each query attends to a few sampled points around its reference on every level (Deformable DETR, section 4.1).

    mmcv's own module checks the shapes with a value read from the device at every call, adds dropout and the residual,
    and in bfloat16 leaves the compiled operator for a slow path. Here the operator alone is used: the projections
    follow autocast, the operator runs in float32.

    Args:
        dim (int): Channels of queries and memory, a multiple of ``num_heads``.
        num_heads (int): Attention heads.
        num_levels (int): Levels of the memory.
        num_points (int): Sampled points per head and level.
    """

    # Images that the compiled operator handles in one of its internal steps.
    im2col_step = 64

    def __init__(self, dim: int, num_heads: int, num_levels: int, num_points: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'dim must be a multiple of num_heads, got dim={dim} and num_heads={num_heads}')
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        self.sampling_offsets = nn.Linear(dim, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(dim, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)

    def init_weights(self) -> None:
        """Start with each head looking in its own direction, the points of a head one step farther each."""
        constant_init(self.sampling_offsets, 0.0)
        angles = torch.arange(self.num_heads, dtype=torch.float32) * (2 * math.pi / self.num_heads)
        directions = torch.stack([angles.cos(), angles.sin()], -1)
        directions = directions / directions.abs().max(-1, keepdim=True).values
        steps = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        offsets = directions[:, None, None] * steps[None, None, :, None]
        offsets = offsets.expand(-1, self.num_levels, -1, -1)
        self.sampling_offsets.bias.data.copy_(offsets.flatten())
        constant_init(self.attention_weights, 0.0)
        xavier_init(self.value_proj, distribution='uniform')
        xavier_init(self.output_proj, distribution='uniform')

    def forward(self, queries: Tensor, references: Tensor, memory: Memory) -> Tensor:
        """Attend to the memory.

        Args:
            queries (Tensor): (bs, num_queries, dim), position added.
            references (Tensor): (bs or 1, num_queries, 2) points or (bs, num_queries, 4) cxcywh boxes, in [0, 1].
            memory (Memory): Tokens of all levels.

        Returns:
            Tensor: (bs, num_queries, dim).
        """
        bs, num_queries, dim = queries.shape
        # Flat: a projection of (bs, num_points, dim) reshapes it, and its gradient, and both back.
        value, flat_queries = self.value_proj(memory.tokens.flatten(0, 1)), queries.flatten(0, 1)
        if memory.padding is not None:
            value = value.masked_fill(memory.padding.flatten()[:, None], 0.0)
        value = value.view(bs, -1, self.num_heads, dim // self.num_heads)
        shape = (bs, num_queries, self.num_heads, self.num_levels, self.num_points)
        offsets = self.sampling_offsets(flat_queries).view(*shape[:3], -1)
        weights = self.attention_weights(flat_queries).view(*shape[:3], -1).softmax(-1).view(shape)
        locations = self._locations(references.float(), offsets.float(), memory.spatial_shapes).view(*shape, 2)
        sampled = sample_attention(value.float(), memory.spatial_shapes, locations, weights.float(), self.im2col_step)
        return self.output_proj(sampled.to(value.dtype).flatten(0, 1)).view_as(queries)

    def _locations(self, references: Tensor, offsets: Tensor, spatial_shapes: tuple[Shape, ...]) -> Tensor:
        """Sampling locations in [0, 1]: around points in cells, around boxes in box sizes.

        Args:
            references (Tensor): (bs or 1, num_queries, 2 or 4).
            offsets (Tensor): (bs, num_queries, num_heads, num_levels * num_points * 2); the last three dimensions stay
                flat, because broadcasting along a dimension of two is slow on the host.
            spatial_shapes (tuple[Shape, ...]): (h, w) per level.

        Returns:
            Tensor: Shape of ``offsets``.
        """
        num_samples = self.num_levels * self.num_points
        center = references[:, :, None, :2].repeat(1, 1, 1, num_samples)
        if references.shape[-1] == 2:
            unit = from_host([(1 / w, 1 / h) for h, w in spatial_shapes for _ in range(self.num_points)], offsets)
            return center + offsets * unit.flatten()
        unit = references[:, :, None, 2:].repeat(1, 1, 1, num_samples) * (0.5 / self.num_points)
        return center + offsets * unit


def sample_attention(
    value: Tensor, spatial_shapes: tuple[Shape, ...], locations: Tensor, weights: Tensor, im2col_step: int = 64
) -> Tensor:
    """Weighted sum of bilinear samples: mmcv's operator on a GPU, sums of table rows on the host.

    Exporters see grid sampling level by level instead, which they all know, and so does ``torch.compile`` before 2.4;
    later it sees either as one operator.

    Args:
        value (Tensor): (bs, num_points, num_heads, head_dim).
        spatial_shapes (tuple[Shape, ...]): (h, w) per level.
        locations (Tensor): (bs, num_queries, num_heads, num_levels, num_samples, 2), (x, y) in [0, 1].
        weights (Tensor): (bs, num_queries, num_heads, num_levels, num_samples).
        im2col_step (int): Images per internal step of the compiled operator.

    Returns:
        Tensor: (bs, num_queries, num_heads * head_dim).
    """
    compiled = is_traced() and AVAILABLE and not torch.jit.is_tracing()
    if is_traced() and not compiled:
        return sample_grid(value, spatial_shapes, locations, weights)
    if not _operator_runs_on(value):
        sample = traceable_rows if compiled else sample_rows
        return sample(value, spatial_shapes, locations, weights)
    sizes = [h * w for h, w in spatial_shapes]
    starts = [sum(sizes[:level]) for level in range(len(sizes))]
    shapes = from_host(spatial_shapes, value).long()
    starts = from_host(starts, value).long()
    operator = traceable_attention if compiled else MultiScaleDeformableAttnFunction.apply
    return operator(value.contiguous(), shapes, starts, locations.contiguous(), weights.contiguous(), im2col_step)


def _operator_runs_on(value: Tensor) -> bool:
    return value.is_cuda


def sample_grid(value: Tensor, spatial_shapes: tuple[Shape, ...], locations: Tensor, weights: Tensor) -> Tensor:
    """The same with nothing but common operations."""
    bs, _, num_heads, head_dim = value.shape
    num_queries = locations.shape[1]
    # grid_sample sees each head of each image as an image. With the queries innermost, weighting and summing the
    # samples run over contiguous memory: (num_levels, bs * num_heads, num_samples, num_queries, ...).
    grid = (2 * locations - 1).permute(3, 0, 2, 4, 1, 5).flatten(1, 2)
    weights = weights.permute(3, 0, 2, 4, 1).flatten(1, 2)
    total = 0
    levels = value.split([h * w for h, w in spatial_shapes], dim=1)
    for level, (tokens, shape) in enumerate(zip(levels, spatial_shapes, strict=True)):
        maps = tokens.permute(0, 2, 3, 1).reshape(bs * num_heads, head_dim, *shape)
        samples = F.grid_sample(maps, grid[level], align_corners=False)
        total = total + (samples * weights[level][:, None]).sum(2)
    return total.view(bs, num_heads * head_dim, num_queries).transpose(1, 2)
