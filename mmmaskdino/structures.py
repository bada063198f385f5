"""What the parts of Mask DINO exchange. Every tensor shape of the model is written here once.

Dimensions: ``bs`` images, ``num_queries``, ``num_points`` (tokens of all encoder levels, or sampled points), ``dim``,
``num_gts`` objects of an image, ``num_pairs`` matched pairs of a batch, ``h, w``. Boxes are ``cxcywh`` in [0, 1] of the
padded canvas (``batch_input_shape``) everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from mmmaskdino.ops.deform_attn import LevelTensors

Shape = tuple[int, int]


class Targets(NamedTuple):
    """Ground truth of one image."""

    labels: Tensor
    """(num_gts,) int64, in [0, num_classes)."""
    boxes: Tensor
    """(num_gts, 4) float32."""
    masks: Tensor | None
    """(num_gts, h, w) bool on the padded canvas; None in a model without masks."""
    is_thing: Tensor
    """(num_gts,) bool; stuff carries no box where boxes are decoupled."""
    ignored: Tensor | None = None
    """(h, w) bool, True where nobody knows what is there: no loss and no matching point lies there. None: nowhere."""


class GroundTruth(NamedTuple):
    """What a training step knows of its images before it looks at them."""

    targets: Sequence[Targets]
    """One per image."""
    most_objects: int
    """Objects of the fullest image of the batch, on any rank; 0 in a model without denoising."""


class Memory(NamedTuple):
    """Output of the pixel decoder's encoder, finest level first."""

    tokens: Tensor
    """(bs, num_points, dim)."""
    spatial_shapes: tuple[Shape, ...]
    """(h, w) per level; plain numbers, so that using them never waits for the device."""
    padding: Tensor | None
    """(bs, num_points) bool, True where a token lies in the padding; None where nothing is padded."""
    levels: LevelTensors | None = None
    """The shapes on the device, copied there once for all layers; None: each layer copies them."""


class QueryInit(NamedTuple):
    """What the transformer decoder starts from."""

    content: Tensor
    """(bs, num_queries, dim)."""
    boxes: Tensor
    """(bs, num_queries, 4)."""
    encoder_stage: StagePrediction | None
    """Prediction of the selected tokens; None with learned queries, or where ``further`` has it."""
    selected: Tensor | None
    """(bs, num_queries) int64 index of each query's token; None with learned queries."""
    scores: Tensor | None
    """(bs, num_points) class logits by which the tokens were ranked, -inf in the padding; None with learned queries."""
    further: tuple[QueryGroup, ...] = ()
    """What options supervise besides."""


class StagePrediction(NamedTuple):
    """One supervised stage, or several of them stacked in a leading dimension."""

    cls_logits: Tensor
    """(bs, num_queries, cls_out_channels)."""
    boxes: Tensor
    """(bs, num_queries, 4)."""
    mask_embeds: Tensor | None
    """(bs, num_queries, mask_dims); a mask map is ``mask_embeds @ mask_features``. None in a model without masks."""

    def map(self, function: Callable[..., Tensor], *others: StagePrediction) -> StagePrediction:
        """The same function of each field, also of the fields of others; what is None stays None."""
        fields = zip(self, *others, strict=True)
        mapped: list[Any] = [None if field[0] is None else function(*field) for field in fields]
        return StagePrediction(*mapped)


class Pairs(NamedTuple):
    """Matched (query, object) pairs of several stages, ordered by image."""

    stages: Tensor
    """(num_pairs,) int64 index of the stage."""
    images: Tensor
    """(num_pairs,) int64 index of the image."""
    queries: Tensor
    """(num_pairs,) int64 index of the query."""
    gts: Tensor
    """(num_pairs,) int64 index of the object within its image."""
    per_image: tuple[int, ...]
    """Pairs of each image, as plain numbers."""


class DenoisingGroups(NamedTuple):
    """Noised copies of the ground truth, which precede the matching queries in the decoder."""

    content: Tensor
    """(bs, num_denoising, dim)."""
    boxes: Tensor
    """(bs, num_denoising, 4)."""
    attention_mask: Tensor
    """(num_denoising + num_queries,) * 2 bool, True where attention is blocked."""
    pairs: Pairs
    """Which query reconstructs which object, for one stage."""
    num_groups: int


class QueryGroup(NamedTuple):
    """Queries that are matched with the objects by themselves: the model's, or those that an option adds to them."""

    stages: StagePrediction
    """Stacked: (num_stages, bs, num_queries, ...); without mask embeddings, matching and losses look at no masks."""
    names: list[str]
    """Prefix of each stage's losses."""
    num_copies: int = 1
    """Queries that are to become the same object."""

    def copies(self, num_gts: int) -> int:
        """Queries that become each object of an image: fewer where there are not enough for all objects, but one."""
        return max(1, min(self.num_copies, self.stages.boxes.shape[2] // max(num_gts, 1)))


class HeadOutput(NamedTuple):
    """All predictions of a training step, stages stacked in a leading dimension."""

    encoder: StagePrediction | None
    """The one stage of the query selection; None with learned queries."""
    matching: StagePrediction
    """The initial queries, then one stage per decoder layer."""
    denoising: StagePrediction | None
    """The same for the denoising queries, without the initial stage where that is not supervised; None without them."""
    groups: DenoisingGroups | None
    mask_features: Tensor | None
    """(bs, mask_dims, h / 4, w / 4)."""
    further: tuple[QueryGroup, ...] = ()
    """What options add; empty in the paper's model."""
