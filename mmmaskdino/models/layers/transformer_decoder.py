"""Transformer decoder: queries and their reference boxes, refined layer by layer."""

from typing import NamedTuple

from mmdet.models.layers import MLP
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmaskdino.models.utils.positions import encode_boxes
from mmmaskdino.structures import Memory

from .prediction_heads import PredictionHeads
from .transformer_layers import DecoderLayer, run_layer


class LayerOutput(NamedTuple):
    """One decoder layer."""

    hidden_state: Tensor
    """(bs, num_queries, dim), not normalised."""
    references: Tensor
    """(bs, num_queries, 4), the boxes the layer started from, with their gradient."""


@MODELS.register_module()
class MaskDINOTransformerDecoder(BaseModule):
    """Decoder with dynamic anchor boxes (DAB-DETR) and iterative refinement (paper, section 3.2).

    Args:
        dim (int): Channels of the queries.
        num_heads (int): Attention heads.
        num_levels (int): Levels of the memory.
        num_points (int): Sampled points per head and level.
        num_layers (int): Layers.
        ffn_dim (int): Hidden channels of the feed-forward networks.
        with_cp (bool): Activation checkpointing: a training step runs the layers twice and stores their inputs only.
    """

    def __init__(
        self,
        dim: int = 256,
        num_heads: int = 8,
        num_levels: int = 4,
        num_points: int = 4,
        num_layers: int = 9,
        ffn_dim: int = 2048,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.dim, self.with_cp = dim, with_cp
        self.embed_position = MLP(2 * dim, dim, dim, 2)
        self.layers = nn.ModuleList(
            DecoderLayer(dim, num_heads, num_levels, num_points, ffn_dim) for _ in range(num_layers)
        )

    def init_weights(self) -> None:
        """Xavier, and the pattern of the deformable attention."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for layer in self.layers:
            layer.cross_attention.init_weights()

    def forward(
        self,
        content: Tensor,
        boxes: Tensor,
        memory: Memory,
        heads: PredictionHeads,
        attention_mask: Tensor | None = None,
        num_layers: int | None = None,
    ) -> list[LayerOutput]:
        """Refine queries and boxes.

        Args:
            content (Tensor): (bs, num_queries, dim).
            boxes (Tensor): (bs, num_queries, 4) cxcywh in [0, 1].
            memory (Memory): Encoded tokens.
            heads (PredictionHeads): The shared heads; the box head moves the references.
            attention_mask (Tensor | None): (num_queries, num_queries) bool, True where self-attention is blocked.
            num_layers (int | None): The layers that run, from the first; None: all.

        Returns:
            list[LayerOutput]: One per layer that ran.
        """
        outputs = []
        hidden_state, references = content, boxes
        layers = self.layers[:num_layers]
        for i, layer in enumerate(layers):
            # Each layer's attention sees the references as given; a learned start alone gets a gradient through it.
            seen = references.detach() if i else references
            position = self._position(seen).to(hidden_state.dtype)
            hidden_state = run_layer(layer, hidden_state, position, seen, memory, attention_mask, with_cp=self.with_cp)
            outputs.append(LayerOutput(hidden_state, references))
            if i + 1 < len(layers):
                # As in the released weights: from the un-normalised state.
                references = heads.refine(seen, hidden_state)
        return outputs

    def _position(self, boxes: Tensor) -> Tensor:
        """(bs, num_queries, dim) from the sine encoding of y, x, w, h."""
        return self.embed_position(encode_boxes(boxes, self.dim // 2))
