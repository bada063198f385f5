"""Post-norm transformer layers of the pixel decoder and of the transformer decoder."""

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmaskdino.structures import Memory

from .deformable_attention import DeformableAttention


class FeedForward(nn.Sequential):
    """Linear, ReLU, Linear on (..., dim)."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__(nn.Linear(dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, dim))


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
        self, queries: Tensor, position: Tensor, references: Tensor, memory: Memory, attention_mask: Tensor | None
    ) -> Tensor:
        """Refine the queries.

        Args:
            queries (Tensor): (bs, num_queries, dim).
            position (Tensor): (bs, num_queries, dim) position of the queries.
            references (Tensor): (bs, num_queries, 4) cxcywh boxes in [0, 1].
            memory (Memory): Tokens of all levels.
            attention_mask (Tensor | None): (num_queries, num_queries) bool, True where self-attention is blocked.

        Returns:
            Tensor: (bs, num_queries, dim).
        """
        placed = queries + position
        attended, _ = self.self_attention(placed, placed, queries, attn_mask=attention_mask, need_weights=False)
        queries = self.norm1(queries + attended)
        queries = self.norm2(queries + self.cross_attention(queries + position, references, memory))
        return self.norm3(queries + self.ffn(queries))
