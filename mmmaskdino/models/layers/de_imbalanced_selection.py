"""Query selection in two steps, between which boxes catch up with masks."""

from typing import Any

import torch
from mmdet.models.layers import MLP
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmmaskdino.models.utils.positions import encode_boxes
from mmmaskdino.structures import Memory, QueryGroup, QueryInit, StagePrediction

from .prediction_heads import PredictionHeads
from .query_init import EncoderQuerySelection
from .transformer_layers import FeedForward


@MODELS.register_module()
class DeImbalancedQuerySelection(EncoderQuerySelection):
    """Query selection that refines more candidates than it takes (DI-MaskDINO, Nan et al., NeurIPS 2024).

    .. code:: text

        memory --> best 600 tokens --> layers of self-attention --> best 300 --> + --> content, boxes
                           |                                                     ^
                           +----------------------> attention -------------------+

    Where the decoder starts, boxes lag behind masks. So the candidates see one another and refine their boxes, with the
    shared heads, before some of them become queries. Each layer is matched and supervised by class and box alone
    (losses ``enc1_``, ``enc2_``), the first selection as in :class:`EncoderQuerySelection` (``enc_``). What the
    refinement has lost of the first selection, the queries get back by attention to it.

    Args:
        num_candidates (int): Tokens of the first selection, at least ``num_queries``; fewer where the memory has fewer.
        num_layers (int): Layers between the selections.
        num_heads (int): Attention heads of the layers and of the attention to the first selection.
        ffn_dim (int): Hidden channels of the layers' feed-forward networks.
        dim (int): Channels of the tokens.
        selection: The other arguments of :class:`EncoderQuerySelection`.

    Raises:
        ValueError: If there are fewer candidates than queries, or no layer.
    """

    selects_more = False

    def __init__(
        self,
        num_candidates: int = 600,
        num_layers: int = 2,
        num_heads: int = 8,
        ffn_dim: int = 2048,
        dim: int = 256,
        **selection: Any,
    ) -> None:
        super().__init__(dim=dim, **selection)
        if num_candidates < self.num_queries or num_layers < 1:
            raise ValueError(
                f'query_init needs num_candidates >= num_queries ({self.num_queries}) and num_layers >= 1, got '
                f'num_candidates={num_candidates} and num_layers={num_layers}'
            )
        self.dim, self.num_candidates = dim, num_candidates
        self.embed_position = MLP(2 * dim, dim, dim, 2)
        self.layers = nn.ModuleList(SelfAttentionLayer(dim, num_heads, ffn_dim) for _ in range(num_layers))
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)

    def init_weights(self) -> None:
        """Xavier, as in the decoder."""
        super().init_weights()
        for part in (self.embed_position, self.layers, self.attention):
            for parameter in part.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)

    def forward(self, memory: Memory, mask_features: Tensor | None, heads: PredictionHeads) -> QueryInit:
        """Select candidates, refine them, select queries; arguments and result as of :class:`EncoderQuerySelection`."""
        candidates, boxes, indices, scores = self._select(memory, heads, self.num_candidates)
        first = heads.predict(heads.norm(candidates), boxes)
        hidden = None if memory.padding is None else memory.padding.gather(1, indices)

        tokens, first_position, layers = candidates, self._position(boxes), []
        position = first_position
        for layer in self.layers:
            tokens = layer(tokens, position, hidden)
            boxes = heads.refine(boxes.detach(), tokens)
            position = self._position(boxes)
            layers.append(StagePrediction(heads.classify(heads.norm(tokens)), boxes, None))

        refined_scores = layers[-1].cls_logits.max(-1).values.detach()
        if hidden is not None:
            refined_scores = refined_scores.masked_fill(hidden, -torch.inf)
        chosen = refined_scores.topk(min(self.num_queries, refined_scores.shape[1]), dim=1).indices
        tokens, position, boxes = (_take(values, chosen) for values in (tokens.detach(), position, boxes.detach()))
        with torch.no_grad():
            boxes = self._initial_boxes(heads.predict(heads.norm(tokens), boxes), memory, mask_features)
        candidates = candidates.detach()
        attended, _ = self.attention(
            tokens + position, candidates + first_position, candidates, key_padding_mask=hidden, need_weights=False
        )
        return QueryInit(
            tokens + attended,
            boxes,
            encoder_stage=None,
            selected=indices.gather(1, chosen),
            scores=torch.full_like(scores, -torch.inf).scatter(1, indices, refined_scores.to(scores.dtype)),
            further=(_group([first], ['enc_']), _group(layers, [f'enc{i + 1}_' for i in range(len(layers))])),
        )

    def _position(self, boxes: Tensor) -> Tensor:
        return self.embed_position(encode_boxes(boxes.detach(), self.dim // 2))


class SelfAttentionLayer(nn.Module):
    """Self-attention, then a feed-forward network: a layer of the decoder that does not look at the memory.

    Args:
        dim (int): Channels of the tokens.
        num_heads (int): Attention heads.
        ffn_dim (int): Hidden channels of the feed-forward network.
    """

    def __init__(self, dim: int, num_heads: int, ffn_dim: int) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.norm1 = nn.LayerNorm(dim)
        self.ffn = FeedForward(dim, ffn_dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, position: Tensor, hidden: Tensor | None) -> Tensor:
        """Refine tokens.

        Args:
            tokens (Tensor): (bs, num_tokens, dim).
            position (Tensor): (bs, num_tokens, dim) position of the tokens.
            hidden (Tensor | None): (bs, num_tokens) bool, True where no token is to look.

        Returns:
            Tensor: (bs, num_tokens, dim).
        """
        placed = tokens + position
        attended, _ = self.self_attention(placed, placed, tokens, key_padding_mask=hidden, need_weights=False)
        tokens = self.norm1(tokens + attended)
        return self.norm2(tokens + self.ffn(tokens))


def _take(values: Tensor, indices: Tensor) -> Tensor:
    """(bs, k, n) of (bs, num_tokens, n) by indices (bs, k)."""
    return values.gather(1, indices[..., None].expand(-1, -1, values.shape[-1]))


def _group(stages: list[StagePrediction], names: list[str]) -> QueryGroup:
    first, *others = stages
    return QueryGroup(first.map(lambda *fields: torch.stack(fields), *others), names)
