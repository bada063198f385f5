"""Class, box and mask heads, shared by the query selection and every decoder layer."""

import torch
from mmdet.models.layers import MLP
from mmengine.model import BaseModule, bias_init_with_prob
from torch import Tensor, nn

from mmmaskdino.ops.device import without_autocast
from mmmaskdino.structures import StagePrediction

from .box_prior import BoxPrior


class PredictionHeads(BaseModule):
    """One normalisation and three heads for all stages (paper, section 3.2).

    Args:
        dim (int): Channels of the queries.
        cls_out_channels (int): Classes, with the no-object class of softmax models.
        mask_dims (int | None): Channels of the mask features; None: no masks.
        prior_prob (float | None): Probability of each class at the start of focal training; None leaves the bias at 0.
        box_prior (BoxPrior | None): Adds channels to the mask embeddings that tell where the query's box is.
    """

    def __init__(
        self,
        dim: int,
        cls_out_channels: int,
        mask_dims: int | None,
        prior_prob: float | None,
        box_prior: BoxPrior | None = None,
    ) -> None:
        super().__init__()
        self.prior_prob = prior_prob
        self.norm = nn.LayerNorm(dim)
        self.classify = nn.Linear(dim, cls_out_channels)
        self.locate = MLP(dim, dim, 4, 3)
        self.embed_mask = MLP(dim, dim, mask_dims, 3) if mask_dims is not None else None
        self.box_prior = box_prior

    def init_weights(self) -> None:
        """Boxes start at their references, classes at their prior."""
        for layer in self.locate.layers[:-1]:
            nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(self.locate.layers[-1].weight)
        nn.init.zeros_(self.locate.layers[-1].bias)
        nn.init.constant_(self.classify.bias, 0 if self.prior_prob is None else bias_init_with_prob(self.prior_prob))

    def refine(self, boxes: Tensor, queries: Tensor) -> Tensor:
        """Boxes moved by what the box head reads from the queries, as they come (the caller decides on ``norm``).

        Args:
            boxes (Tensor): (bs, num_queries, 4) cxcywh in [0, 1].
            queries (Tensor): (bs, num_queries, dim).

        Returns:
            Tensor: (bs, num_queries, 4) float32: coordinates do not survive half precision.
        """
        return (self.locate(queries).float() + boxes.float().logit(1e-5)).sigmoid()

    def predict(self, queries: Tensor, boxes: Tensor) -> StagePrediction:
        """Classes and mask embeddings of normalised queries, with given boxes.

        Args:
            queries (Tensor): (bs, num_queries, dim), normalised.
            boxes (Tensor): (bs, num_queries, 4) cxcywh in [0, 1].

        Returns:
            StagePrediction: The stage's prediction.
        """
        mask_embeds = None if self.embed_mask is None else self.embed_mask(queries)
        if self.box_prior is not None:
            mask_embeds = torch.cat([mask_embeds.float(), self.box_prior.embed(queries, boxes)], -1)
        return StagePrediction(self.classify(queries), boxes, mask_embeds)

    def initial_stage(self, content: Tensor, boxes: Tensor) -> StagePrediction:
        """Prediction of the queries before the first decoder layer."""
        return self.predict(self.norm(content), boxes)

    def forward(self, hidden_state: Tensor, references: Tensor) -> StagePrediction:
        """Prediction of a decoder layer.

        Args:
            hidden_state (Tensor): (bs, num_queries, dim), the layer's output.
            references (Tensor): (bs, num_queries, 4), the boxes it started from, with their gradient: the box loss of a
                layer also teaches the layer before (DINO, look forward twice).

        Returns:
            StagePrediction: The layer's prediction.
        """
        normed = self.norm(hidden_state)
        # As in the released weights: the same normalisation twice for class and mask, once for the box.
        return self.predict(self.norm(normed), self.refine(references, normed))


def decode_masks(mask_embeds: Tensor, mask_features: Tensor) -> Tensor:
    """Mask logit maps: (bs, num_queries, mask_dims), (bs, mask_dims, h, w) -> (bs, num_queries, h, w)."""
    if mask_embeds.dtype == mask_features.dtype == torch.float32:  # under autocast: those of a box prior
        with without_autocast(mask_embeds):
            return torch.einsum('bqc,bchw->bqhw', mask_embeds, mask_features)
    return torch.einsum('bqc,bchw->bqhw', mask_embeds, mask_features)
