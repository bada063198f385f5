"""Multi-scale deformable attention."""

import math

import torch
from mmengine.model import BaseModule, constant_init, xavier_init
from torch import Tensor, nn

from mmmaskdino.ops.deform_attn import LevelTensors, sample_attention
from mmmaskdino.structures import Memory


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
        value = self.value_proj(memory.tokens)
        if memory.padding is not None:
            value = value.masked_fill(memory.padding[..., None], 0.0)
        value = value.unflatten(-1, (self.num_heads, -1))
        levels = memory.levels or LevelTensors.of(memory.spatial_shapes, value)
        locations, weights = self.sampling_points(queries, references, levels)
        sampled = sample_attention(value.float(), memory.spatial_shapes, locations, weights, levels)
        return self.output_proj(sampled.to(value.dtype))

    def sampling_points(self, queries: Tensor, references: Tensor, levels: LevelTensors) -> tuple[Tensor, Tensor]:
        """Where queries look, and how much of each point they take.

        Args:
            queries (Tensor): (bs, num_queries, dim), position added.
            references (Tensor): (bs or 1, num_queries, 2) points or (bs, num_queries, 4) cxcywh boxes, in [0, 1].
            levels (LevelTensors): Of the memory.

        Returns:
            tuple[Tensor, Tensor]: Locations (bs, num_queries, num_heads, num_levels, num_points, 2), (x, y) in [0, 1],
            and weights (bs, num_queries, num_heads, num_levels, num_points); of each head they add up to 1. float32.
        """
        shape = (*queries.shape[:2], self.num_heads, self.num_levels, self.num_points)
        offsets = self.sampling_offsets(queries).view(*shape[:3], -1)
        weights = self.attention_weights(queries).view(*shape[:3], -1).softmax(-1).view(shape)
        locations = self._locations(references.float(), offsets.float(), levels).view(*shape, 2)
        return locations, weights.float()

    def _locations(self, references: Tensor, offsets: Tensor, levels: LevelTensors) -> Tensor:
        """Sampling locations in [0, 1]: around points in cells, around boxes in box sizes.

        Args:
            references (Tensor): (bs or 1, num_queries, 2 or 4).
            offsets (Tensor): (bs, num_queries, num_heads, num_levels * num_points * 2); the last three dimensions stay
                flat, because broadcasting along a dimension of two is slow on the CPU.
            levels (LevelTensors): Their sizes.

        Returns:
            Tensor: Shape of ``offsets``.
        """
        num_samples = self.num_levels * self.num_points
        center = references[:, :, None, :2].repeat(1, 1, 1, num_samples)
        if references.shape[-1] == 2:
            unit = 1 / levels.shapes.flip(-1)
            return center + offsets * unit[:, None].expand(-1, self.num_points, -1).flatten()
        unit = references[:, :, None, 2:].repeat(1, 1, 1, num_samples) * (0.5 / self.num_points)
        return center + offsets * unit
