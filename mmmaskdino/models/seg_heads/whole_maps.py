"""Results from whole mask maps, in operations that exporters know.

The fusion head goes through an image strip by strip, which a fixed graph cannot. Here each map is held whole; the
choice of queries and the scores are the fusion head's own.
"""

import torch
import torch.nn.functional as F
from mmdet.evaluation.functional import INSTANCE_OFFSET
from torch import Tensor

from mmmaskdino.models.seg_heads.image_queries import ImageQueries
from mmmaskdino.models.seg_heads.mask_boxes import join_with_masks
from mmmaskdino.models.seg_heads.maskdino_fusion_head import MaskDINOFusionHead
from mmmaskdino.models.utils.boxes import cxcywh_to_xyxy
from mmmaskdino.ops.device import from_host
from mmmaskdino.structures import Shape

EMPTY = -1e4  # a mask logit whose probability is 0 in float32


def instances(
    fusion: MaskDINOFusionHead, queries: ImageQueries, canvas: Shape, inside: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The best instances, as of :meth:`MaskDINOFusionHead.predict_instances`, in pixels of the canvas.

    Args:
        fusion (MaskDINOFusionHead): Chooses and scores.
        queries (ImageQueries): Predictions for one image.
        canvas (Shape): (H, W) of the network's input.
        inside (Tensor): (H, W) bool, False in the padding.

    Returns:
        tuple[Tensor, Tensor, Tensor, Tensor | None]: Scores (n,), labels (n,) int64, boxes (n, 4) xyxy and masks
        (n, H, W) bool, best first; the last is None in a model without masks.
    """
    scores, labels, chosen = fusion.choose_instances(queries.cls_logits)
    masks = None
    if fusion.settings.with_masks and queries.mask_embeds is not None:
        logits = _resized(fusion.thing_masks(queries, chosen), canvas)[:-1]
        masks = (logits > 0) & inside
        scores = scores * (logits.sigmoid() * masks).sum((1, 2)) / (masks.sum((1, 2)) + 1e-6)
    scores, order = scores.sort(descending=True)
    # Some were above the threshold before their mask lowered the score.
    keep = scores >= fusion.settings.score_thr
    scores, order = scores[keep], order[keep]
    height, width = canvas
    boxes = cxcywh_to_xyxy(queries.boxes[chosen[order]]) * from_host([width, height, width, height], scores)
    masks = None if masks is None else masks[order]
    if masks is not None and fusion.settings.mask_box_weight:
        boxes = join_with_masks(boxes, masks, fusion.settings.mask_box_weight)
    return scores, labels[order], boxes, masks


def panoptic_map(fusion: MaskDINOFusionHead, queries: ImageQueries, canvas: Shape, inside: Tensor) -> Tensor:
    """The panoptic map, as of :meth:`MaskDINOFusionHead.panoptic_map`.

    Args: as of :func:`instances`.

    Returns:
        Tensor: (H, W) int32 of label + instance * INSTANCE_OFFSET; num_classes where nothing is, and in the padding.
    """
    scores, labels, kept = fusion.choose_segments(queries.cls_logits)
    # With one more segment, empty and of no class, there is always one to choose, also where no query is kept.
    probs = _resized(fusion.segment_masks(queries, kept, labels), canvas).sigmoid()
    best = (probs * F.pad(scores, (0, 1))[:, None, None]).argmax(0)
    agrees = probs >= 0.5
    numbers = torch.arange(probs.shape[0], device=probs.device)
    wins = (best == numbers[:, None, None]) & inside
    visible = (wins & agrees).sum((1, 2))
    share = wins.sum((1, 2)) / (agrees & inside).sum((1, 2))
    keep = (visible > 0) & (share >= fusion.settings.overlap_thr)
    labels = F.pad(labels, (0, 1))
    is_thing = labels < fusion.num_things_classes
    instance = (keep & is_thing).long().cumsum(0) * is_thing
    void = torch.full_like(labels, fusion.num_classes)
    values = torch.where(keep, labels + instance * INSTANCE_OFFSET, void)
    shown = (wins & agrees & keep[:, None, None]).any(0)
    return torch.where(shown, values[best], void[:1]).to(torch.int32)


def semantic_map(fusion: MaskDINOFusionHead, queries: ImageQueries, canvas: Shape) -> Tensor:
    """Labels (H, W) int32 of all pixels, as of :meth:`MaskDINOFusionHead.semantic_strips`; meaningless in the padding.

    Args: as of :func:`instances`.
    """
    probs = _resized(fusion.masks_of_all(queries), canvas)[:-1].sigmoid()
    scores = fusion.sharpened_scores(queries.cls_logits).T @ probs.flatten(1)
    return scores.argmax(0).unflatten(0, canvas).to(torch.int32)


def _resized(mask_logits: Tensor, canvas: Shape) -> Tensor:
    """Maps (n, h, w) and an empty one as (n + 1, H, W): no maps at all cannot be resized."""
    mask_logits = F.pad(mask_logits, (0, 0, 0, 0, 0, 1), value=EMPTY)
    return F.interpolate(mask_logits[None], size=canvas, mode='bilinear', align_corners=False)[0]
