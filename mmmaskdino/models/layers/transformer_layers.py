"""Post-norm transformer layers of the pixel decoder and of the transformer decoder."""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmmaskdino.ops.device import is_traced
from mmmaskdino.structures import Memory

from .deformable_attention import DeformableAttention


def run_layer(layer: nn.Module, *args: Any, with_cp: bool) -> Any:
    """Run a layer; with ``with_cp`` only its arguments are kept and the backward pass runs it again.

    Args:
        layer (nn.Module): Any layer without randomness.
        args (Any): What it takes.
        with_cp (bool): Activation checkpointing (Chen et al., 2016); where no gradient is needed it changes nothing.
    """
    if with_cp and torch.is_grad_enabled():
        return checkpoint(layer, *args, use_reentrant=False, preserve_rng_state=False)
    return layer(*args)


class FeedForward(nn.Sequential):
    """Linear, ReLU, Linear on (bs, num_tokens, dim)."""

    # Tokens that the host takes at a time where no gradient is needed: their hidden channels stay in its cache.
    host_tokens = 1024

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__(nn.Linear(dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Refine tokens (bs, num_tokens, dim), each by itself."""
        if torch.is_grad_enabled() or tokens.is_cuda or is_traced():
            return super().forward(tokens.flatten(0, 1)).view_as(tokens)
        first, _, second = self
        return torch.cat([second(first(part).relu_()) for part in tokens.split(self.host_tokens, 1)], 1)


class SelfAttention(nn.MultiheadAttention):
    """Self-attention of queries with a position, by torch's fused attention.

    Parameters are those of ``nn.MultiheadAttention``; its own forward projects queries, keys and values one by one and
    prepares the mask anew in every layer.

    Args:
        dim (int): Channels of the queries.
        num_heads (int): Attention heads.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__(dim, num_heads, batch_first=True)

    def forward(self, queries: Tensor, position: Tensor, visible: Tensor | None) -> Tensor:
        """Attend to all queries.

        Args:
            queries (Tensor): (bs, num_queries, dim).
            position (Tensor): (bs, num_queries, dim) position of the queries.
            visible (Tensor | None): (num_queries, num_queries) bool, True where a query (row) sees another.

        Returns:
            Tensor: (bs, num_queries, dim).
        """
        sizes = (2 * self.embed_dim, self.embed_dim)
        placed, content = zip(self.in_proj_weight.split(sizes), self.in_proj_bias.split(sizes), strict=True)
        shape = (*queries.shape[:2], self.num_heads, self.head_dim)
        keys = F.linear((queries + position).flatten(0, 1), *placed).view(*shape[:2], 2, *shape[2:])
        values = F.linear(queries.flatten(0, 1), *content).view(shape)
        attended = F.scaled_dot_product_attention(*keys.permute(2, 0, 3, 1, 4), values.transpose(1, 2), visible)
        return self.out_proj(attended.transpose(1, 2).reshape(-1, self.embed_dim)).view_as(queries)


class EncoderLayer(BaseModule):
    """Deformable self-attention over all levels, then a feed-forward network.

    Args:
        dim (int): Channels of the tokens.
        num_heads (int): Attention heads.
        num_levels (int): Levels of the memory.
        num_points (int): Sampled points per head and level.
        ffn_dim (int): Hidden channels of the feed-forward network.
    """

    def __init__(self, dim: int, num_heads: int, num_levels: int, num_points: int, ffn_dim: int) -> None:
        super().__init__()
        self.self_attention = DeformableAttention(dim, num_heads, num_levels, num_points)
        self.norm1 = nn.LayerNorm(dim)
        self.ffn = FeedForward(dim, ffn_dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, memory: Memory, position: Tensor, references: Tensor) -> Memory:
        """Refine the tokens.

        Args:
            memory (Memory): Tokens of all levels.
            position (Tensor): (1, num_points, dim) position of the tokens.
            references (Tensor): (1, num_points, 2) centres of the tokens' cells.

        Returns:
            Memory: The same with refined tokens.
        """
        tokens = memory.tokens
        tokens = self.norm1(tokens + self.self_attention(tokens + position, references, memory))
        tokens = self.norm2(tokens + self.ffn(tokens))
        return memory._replace(tokens=tokens)


class DecoderLayer(BaseModule):
    """Self-attention among queries, deformable cross-attention to the memory, feed-forward network.

    Args:
        dim (int): Channels of queries and memory.
        num_heads (int): Attention heads.
        num_levels (int): Levels of the memory.
        num_points (int): Sampled points per head and level.
        ffn_dim (int): Hidden channels of the feed-forward network.
    """

    def __init__(self, dim: int, num_heads: int, num_levels: int, num_points: int, ffn_dim: int) -> None:
        super().__init__()
        self.self_attention = SelfAttention(dim, num_heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attention = DeformableAttention(dim, num_heads, num_levels, num_points)
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = FeedForward(dim, ffn_dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self, queries: Tensor, position: Tensor, references: Tensor, memory: Memory, visible: Tensor | None
    ) -> Tensor:
        """Refine the queries.

        Args:
            queries (Tensor): (bs, num_queries, dim).
            position (Tensor): (bs, num_queries, dim) position of the queries.
            references (Tensor): (bs, num_queries, 4) cxcywh boxes in [0, 1].
            memory (Memory): Tokens of all levels.
            visible (Tensor | None): (num_queries, num_queries) bool, True where a query (row) sees another.

        Returns:
            Tensor: (bs, num_queries, dim).
        """
        queries = self.norm1(queries + self.self_attention(queries, position, visible))
        queries = self.norm2(queries + self.cross_attention(queries + position, references, memory))
        return self.norm3(queries + self.ffn(queries))
