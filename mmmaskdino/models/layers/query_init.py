"""Where the decoder's queries come from: selected encoder tokens, or learned embeddings."""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmaskdino.models.utils.boxes import boxes_from_query_masks
from mmmaskdino.ops.device import parts
from mmmaskdino.structures import Memory, QueryInit, StagePrediction

from .pixel_decoder import cell_centers
from .prediction_heads import PredictionHeads, decode_masks

INITIAL_BOXES = ('predicted', 'tight', 'bitmask', 'mask2box', 'cut', 'quantiles', 'agreed')


@MODELS.register_module()
class EncoderQuerySelection(BaseModule):
    """Unified query selection: the tokens with the best class scores become queries (paper, section 3.3).

    Args:
        num_queries (int): Queries to select; fewer where the memory has fewer tokens.
        proposal_sizes (Sequence[float]): Width and height of a token's proposal box per level, finest level first, as
            share of the canvas; of a level outside ``proposal_range`` no token is a candidate.
        initial_boxes (str): Boxes the decoder starts from: ``predicted`` by the selected tokens, or mask-enhanced, the
            tight boxes of their masks: ``tight``, or ``bitmask`` and ``mask2box`` as the released weights were trained
            with. Those that stray pixels cannot spoil, not in the paper: ``cut``, ``quantiles``, ``agreed`` (see
            :func:`boxes_from_query_masks`).
        dim (int): Channels of the tokens.

    Raises:
        ValueError: If ``initial_boxes`` is none of these.
    """

    # A proposal that touches the border of the canvas is no candidate.
    proposal_range = (0.01, 0.99)
    # Nor is one exactly on the border of the range (the first of 50 cells), also in runtimes that divide less exactly.
    border_width = 1e-6
    # Whether it can select queries beside those of the model.
    selects_more = True

    def __init__(
        self, num_queries: int, proposal_sizes: Sequence[float], initial_boxes: str = 'predicted', dim: int = 256
    ) -> None:
        super().__init__()
        if initial_boxes not in INITIAL_BOXES:
            raise ValueError(f'query_init.initial_boxes must be one of {INITIAL_BOXES}, got {initial_boxes!r}')
        self.num_queries = num_queries
        self.proposal_sizes = tuple(proposal_sizes)
        self.initial_boxes = initial_boxes
        self.project = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    @property
    def supervises_initial_denoising(self) -> bool:
        """Whether the denoising queries are supervised before the first decoder layer."""
        return True

    def forward(
        self, memory: Memory, mask_features: Tensor | None, heads: PredictionHeads, num_more: int = 0
    ) -> QueryInit:
        """Select queries.

        Args:
            memory (Memory): Encoded tokens.
            mask_features (Tensor | None): (bs, mask_dims, h, w).
            heads (PredictionHeads): The shared heads.
            num_more (int): Queries that a training step selects beside ``num_queries``: the next best.

        Returns:
            QueryInit: Content and boxes without gradient, and the encoder's own prediction with it.
        """
        tokens, boxes, selected, scores = self._select(memory, heads, self.num_queries + num_more)
        stage = heads.predict(heads.norm(tokens), boxes)
        boxes = self._initial_boxes(stage, memory, mask_features)
        return QueryInit(tokens.detach(), boxes, stage, selected, scores.detach())

    def _select(self, memory: Memory, heads: PredictionHeads, num_tokens: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The best tokens (bs, num_tokens, dim), best first, their boxes and indices, and the scores of all tokens."""
        self._check_levels(memory)
        proposals, invalid = self._proposals(memory)
        tokens = self.norm(self.project(memory.tokens.masked_fill(invalid[..., None], 0.0)))
        # As in the released weights: ranked without the decoder's normalisation.
        scores = heads.classify(tokens).max(-1).values
        if memory.padding is not None:
            scores = scores.masked_fill(memory.padding, -torch.inf)
        selected = scores.topk(min(num_tokens, scores.shape[1]), dim=1).indices

        content = tokens.gather(1, selected[..., None].expand(-1, -1, tokens.shape[-1]))
        chosen = proposals.expand(len(tokens), -1, -1).gather(1, selected[..., None].expand(-1, -1, 4))
        # A logit of infinity: the box of an invalid proposal is (1, 1, 1, 1) whatever the head says.
        chosen = chosen.logit().masked_fill(invalid.gather(1, selected)[..., None], torch.inf)
        return content, (heads.locate(content).float() + chosen).sigmoid(), selected, scores

    def _check_levels(self, memory: Memory) -> None:
        if len(self.proposal_sizes) != len(memory.spatial_shapes):
            raise ValueError(
                f'query_init.proposal_sizes needs one size per encoder level: expected {len(memory.spatial_shapes)}, '
                f'got {len(self.proposal_sizes)} {self.proposal_sizes}'
            )

    def _proposals(self, memory: Memory) -> tuple[Tensor, Tensor]:
        """Proposal boxes (1, num_points, 4) and the mask (bs, num_points) of tokens that cannot be selected."""
        centers = cell_centers(memory.spatial_shapes, memory.tokens.device)
        sizes = torch.cat(
            [
                centers.new_full((h * w, 2), size)
                for (h, w), size in zip(memory.spatial_shapes, self.proposal_sizes, strict=True)
            ]
        )
        proposals = torch.cat([centers, sizes[None]], -1)
        low, high = self.proposal_range
        invalid = ~((proposals > low + self.border_width) & (proposals < high - self.border_width)).all(-1)
        if memory.padding is not None:
            return proposals, invalid | memory.padding
        return proposals, invalid.expand(len(memory.tokens), -1)

    @torch.no_grad()
    def _initial_boxes(self, stage: StagePrediction, memory: Memory, mask_features: Tensor | None) -> Tensor:
        boxes = stage.boxes.detach()
        if self.initial_boxes == 'predicted':
            return boxes
        # Mask-enhanced box initialisation: early masks are better than early boxes (paper, section 3.3).
        initial = []
        width = len(boxes) * mask_features[0, 0].numel()
        for part in parts(boxes.shape[1], width, boxes):
            masks = decode_masks(stage.mask_embeds[:, part], mask_features) > 0
            initial.append(boxes_from_query_masks(masks, boxes[:, part], self.initial_boxes))
        return torch.cat(initial, 1)


@MODELS.register_module()
class LearnedQueries(BaseModule):
    """Learned content and boxes; there is no encoder stage (semantic models).

    Args:
        num_queries (int): Number of queries.
        dim (int): Channels of a query.
    """

    def __init__(self, num_queries: int, dim: int = 256) -> None:
        super().__init__()
        self.num_queries = num_queries
        self.content = nn.Embedding(num_queries, dim)
        self.box_logits = nn.Embedding(num_queries, 4)

    @property
    def supervises_initial_denoising(self) -> bool:
        """Whether the denoising queries are supervised before the first decoder layer."""
        return False

    def forward(self, memory: Memory, mask_features: Tensor | None, heads: PredictionHeads) -> QueryInit:
        """The same queries for each image (the arguments are those of every query start)."""
        bs = len(memory.tokens)
        content = self.content.weight.expand(bs, -1, -1)
        boxes = self.box_logits.weight.sigmoid().expand(bs, -1, -1)
        return QueryInit(content, boxes, encoder_stage=None, selected=None, scores=None)
