"""One prediction from several views."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.sparse import csr_array, sparray
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from mmmaskdino.models.seg_heads.image_queries import ImageQueries
from mmmaskdino.models.seg_heads.maskdino_fusion_head import MaskDINOFusionHead

from .views import GridQueries, View, boxes_in, masks_in

LEAST_SHARE = 0.5  # of the leader's score, that members from other tiles have


def united_queries(views: Sequence[View], reference: View) -> ImageQueries | GridQueries:
    """All queries of all views in the frame of the reference.

    The class map of a view is a sum over its queries, so the class map of these is, but for a factor, the average of
    the views' maps.

    Args:
        views (Sequence[View]): At least one.
        reference (View): One of them.
    """
    if len(views) == 1 and not reference.flipped:
        return reference.queries
    return GridQueries(
        cls_logits=torch.cat([view.queries.cls_logits for view in views]),
        boxes=torch.cat([boxes_in(reference, view) for view in views]),
        masks=torch.cat([masks_in(reference, view) for view in views]),
    )


def merged_queries(
    views: Sequence[View], reference: View, fusion: MaskDINOFusionHead, merge_iou: float
) -> ImageQueries | GridQueries:
    """Queries that stand for the same object in several views, merged to one.

    Of each view the ``max_per_image`` queries with the highest class scores are looked at, and, for panoptic results,
    all that compete for pixels. A group is led by the best one that is left and has of each other view at most one, the
    most similar with the same best class. Its class probabilities are the sum of the members' over the number of views,
    so what is seen in few views counts less; its mask logits are the members' mean, its box their mean weighted by
    score.

    Args:
        views (Sequence[View]): At least one.
        reference (View): One of them, whose frame the result has.
        fusion (MaskDINOFusionHead): Reads the class logits.
        merge_iou (float): Least IoU with the leader of a group, of the masks or, of things, of the boxes.

    Returns:
        ImageQueries | GridQueries: Of a single view its own queries; else groups by descending score.
    """
    if len(views) == 1 and not reference.flipped:
        return reference.queries
    chosen = [_best_queries(fusion.class_scores(view.queries.cls_logits), fusion) for view in views]
    probs = torch.cat([fusion.class_scores(v.queries.cls_logits)[i] for v, i in zip(views, chosen, strict=True)])
    boxes = torch.cat([boxes_in(reference, view, i) for view, i in zip(views, chosen, strict=True)])
    masks = None
    if reference.queries.mask_embeds is not None:
        masks = torch.cat([masks_in(reference, view, i) for view, i in zip(views, chosen, strict=True)])
    scores, labels = probs.max(-1)
    of_view = np.repeat(np.arange(len(views)), [len(i) for i in chosen])
    similarity = _similarity(boxes, masks, labels < fusion.num_things_classes)
    group = group_queries(scores.cpu().numpy(), labels.cpu().numpy(), of_view, similarity.cpu().numpy(), merge_iou)
    group = torch.from_numpy(group).to(scores.device)
    num_groups = int(group.max()) + 1
    sums = probs.new_zeros(num_groups, probs.shape[1]).index_add_(0, group, probs)
    return GridQueries(
        cls_logits=_logits(sums / len(views), fusion.use_sigmoid),
        boxes=_grouped_mean(boxes, group, num_groups, scores),
        masks=None if masks is None else _grouped_mean(masks, group, num_groups, torch.ones_like(scores)),
    )


def group_queries(
    scores: np.ndarray,
    labels: np.ndarray,
    of_view: np.ndarray,
    similarity: np.ndarray | sparray,
    threshold: float,
    whole: bool = True,
) -> np.ndarray:
    """Group the queries of several views.

    The best that is left leads a group and takes in the most similar of its class from each other view. Where views are
    tiles, which show parts of an image, the members take in further ones, so that an object can go through many tiles,
    and a tile may add several, as long as they are different parts of it; of doubles the best one is taken, and none
    that scores less than half as much as the leader.

    Args:
        scores (np.ndarray): (n,).
        labels (np.ndarray): (n,) best class.
        of_view (np.ndarray): (n,) index of the view.
        similarity (np.ndarray | sparray): (n, n) in [0, 1]; of two of one view it is only read where views are tiles.
        threshold (float): Least similarity to the leader of the group or, of tiles, to any member.
        whole (bool): Whether every view shows the whole image; False of tiles.

    Returns:
        np.ndarray: (n,) int64 group of each, groups numbered by descending score of the leader.
    """
    similarity = csr_array(similarity)
    group = np.full(len(scores), -1)
    for number, leader in enumerate(_leaders(scores, group)):
        group[leader] = number
        members = [leader]
        for member in members:
            row = slice(*similarity.indptr[member : member + 2])
            near, likeness = similarity.indices[row], similarity.data[row]
            fits = (likeness >= threshold) & (labels[near] == labels[leader]) & (of_view[near] != of_view[member])
            if not whole:
                fits &= scores[near] >= LEAST_SHARE * scores[leader]
            order = likeness if whole else scores[near]
            near = near[fits][np.argsort(-order[fits], kind='stable')]
            for index in near:
                if group[index] < 0 and not _is_taken(index, members, of_view, similarity, threshold, whole):
                    group[index] = number
                    members.append(index)
            if whole:
                break
    return group


def _is_taken(
    index: int, members: list[int], of_view: np.ndarray, similarity: csr_array, threshold: float, whole: bool
) -> bool:
    """Whether the view of a query has a member in a group already, or, of tiles, one in the same place."""
    same = [member for member in members if of_view[member] == of_view[index]]
    return any(whole or similarity[index, member] >= threshold for member in same)


def _leaders(scores: np.ndarray, group: np.ndarray) -> Iterator[int]:
    """The best query without a group, as long as there is one."""
    for index in np.argsort(-scores, kind='stable'):
        if group[index] < 0:
            yield index


def _best_queries(class_scores: Tensor, fusion: MaskDINOFusionHead) -> Tensor:
    """Indices of the queries with the highest class scores: as many as there can be instances, or segments."""
    best, settings = class_scores.amax(-1), fusion.settings
    num_segments = int((best > settings.object_mask_thr).sum()) if settings.panoptic_on else 0
    return best.topk(min(len(best), max(settings.max_per_image, num_segments))).indices


def _similarity(boxes: Tensor, masks: Tensor | None, is_thing: Tensor) -> Tensor:
    """IoU (n, n) of the masks, or of the boxes of things if that is larger: the box of stuff means nothing."""
    by_box = _box_ious(boxes) * is_thing
    return by_box if masks is None else torch.maximum(_mask_ious(masks), by_box)


def _mask_ious(masks: Tensor) -> Tensor:
    """(n, n) from logits (n, h, w)."""
    inside = (masks > 0).flatten(1).float()
    both, area = inside @ inside.T, inside.sum(1)
    return both / (area[:, None] + area - both).clamp(min=1)


def _box_ious(boxes: Tensor) -> Tensor:
    """(n, n) from boxes (n, 4), cxcywh."""
    corners = box_convert(boxes, 'cxcywh', 'xyxy')
    return box_iou(corners, corners)


def _grouped_mean(values: Tensor, group: Tensor, num_groups: int, weights: Tensor) -> Tensor:
    """Weighted mean of values (n, ...) within each group: (num_groups, ...)."""
    weights = weights.reshape(-1, *[1] * (values.dim() - 1))
    shape = (num_groups, *values.shape[1:])
    sums = values.new_zeros(shape).index_add_(0, group, values * weights)
    return sums / values.new_zeros(num_groups, *weights.shape[1:]).index_add_(0, group, weights)


def _logits(probs: Tensor, use_sigmoid: bool) -> Tensor:
    """Class logits whose probabilities these (n, num_classes) are."""
    tiny = torch.finfo(probs.dtype).tiny
    if use_sigmoid:
        return probs.clamp(min=tiny).logit()
    nothing = (1 - probs.sum(1, keepdim=True)).clamp(min=tiny)
    return torch.cat([probs.clamp(min=tiny), nothing], 1).log()
