"""Post-norm transformer layers of the pixel decoder and of the transformer decoder."""

from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmmaskdino.ops.device import parts
from mmmaskdino.structures import Memory

from .deformable_attention import DeformableAttention


def run_layer(layer: nn.Module, *args: Any, with_cp: bool) -> Any:
    """Run a layer; with ``with_cp`` only its arguments are kept and the backward pass runs it again.

    Args:
        layer (nn.Module): Any layer.
        args (Any): What it takes.
        with_cp (bool): Activation checkpointing (Chen et al., 2016); where no gradient is needed it changes nothing.
    """
    if with_cp and torch.is_grad_enabled():
        return checkpoint(layer, *args, use_reentrant=False)
    return layer(*args)


class FeedForward(nn.Sequential):
    """Linear, ReLU, Linear on (bs, num_tokens, dim)."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__(nn.Linear(dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Refine tokens (bs, num_tokens, dim), each by itself; without gradients some at a time."""
        first, _, second = self
        few = parts(tokens.shape[1], 2 * len(tokens) * first.out_features, tokens)
        if torch.is_grad_enabled() or len(few) == 1:
            return super().forward(tokens)
        refined = None
        for part in few:
            some = second(first(tokens[:, part]).relu_())
            refined = some.new_empty(tokens.shape) if refined is None else refined
            refined[:, part] = some
        return refined


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
        self.self_attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attention = DeformableAttention(dim, num_heads, num_levels, num_points)
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = FeedForward(dim, ffn_dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self, queries: Tensor, position: Tensor, references: Tensor, memory: Memory, blocked: Tensor | None
    ) -> Tensor:
        """Refine the queries.

        Args:
            queries (Tensor): (bs, num_queries, dim).
            position (Tensor): (bs, num_queries, dim) position of the queries.
            references (Tensor): (bs, num_queries, 4) cxcywh boxes in [0, 1].
            memory (Memory): Tokens of all levels.
            blocked (Tensor | None): (num_queries, num_queries) bool, True where a query (row) does not see another.

        Returns:
            Tensor: (bs, num_queries, dim).
        """
        placed = queries + position
        attended, _ = self.self_attention(placed, placed, queries, attn_mask=blocked, need_weights=False)
        queries = self.norm1(queries + attended)
        queries = self.norm2(queries + self.cross_attention(queries + position, references, memory))
        return self.norm3(queries + self.ffn(queries))
