"""The points in which masks are compared."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmmaskdino.models.utils.boxes import cxcywh_to_xyxy
from mmmaskdino.ops.device import from_host
from mmmaskdino.ops.points import PointFeatures, move_out, sample_binary_masks
from mmmaskdino.ops.smallest import smallest
from mmmaskdino.structures import Targets


class PointSampler:
    """Uniform and importance-sampled points (PointRend; Mask2Former, section 3.3).

    All masks of an image share one set of uniform candidates, drawn once per step. Matching uses the first
    ``num_points`` of them; the loss of a mask uses those candidates where it is most uncertain and, besides, points
    that no importance chose. So the points of an image are found once per step.

    Args:
        num_points (int): Points per mask, in the matching and in the loss.
        oversample_ratio (float): Candidates per point, at least 1.
        importance_sample_ratio (float): Share of the points chosen by uncertainty, in [0, 1].
        box_share (float): Share of the points that are drawn in the objects' boxes, each as often, in [0, 1]. Above 0,
            the important points of a thing's mask are those in its own object's box, grown by ``box_margin`` of its
            size on each side, and others only where too few lie there; those that no importance chose lie anywhere.
            Not in the paper: YOLACT (Bolya et al., ICCV 2019) crops to the true box in training.

    Raises:
        ValueError: If an argument is out of range.
    """

    box_margin = 0.1

    def __init__(
        self, num_points: int, oversample_ratio: float, importance_sample_ratio: float, box_share: float = 0.0
    ) -> None:
        in_range = 0 <= importance_sample_ratio <= 1 and 0 <= box_share <= 1
        if num_points < 1 or oversample_ratio < 1 or not in_range:
            raise ValueError(
                'point sampling needs num_points >= 1, oversample_ratio >= 1 and importance_sample_ratio and box_share '
                f'in [0, 1], got {num_points}, {oversample_ratio}, {importance_sample_ratio} and {box_share}'
            )
        self.box_share = box_share
        self.num_points = num_points
        self.num_candidates = int(num_points * oversample_ratio)
        self.num_important = int(num_points * importance_sample_ratio)

    def draw(self, bs: int, device: torch.device) -> Tensor:
        """(bs, num_candidates + num_random, 2) uniform points (x, y) in [0, 1)."""
        num_random = self.num_points - self.num_important
        return torch.rand(bs, self.num_candidates + num_random, 2, device=device)

    def sample(
        self, mask_features: Tensor, targets: Sequence[Targets]
    ) -> tuple[list[PointFeatures], list[Tensor], list[Tensor | None]]:
        """Draw points outside what is ignored, for the mask features and the true masks.

        Args:
            mask_features (Tensor): (bs, mask_dims, h, w).
            targets (Sequence[Targets]): Masks per image, on the same canvas.

        Returns:
            tuple[list[PointFeatures], list[Tensor], list[Tensor | None]]: Per image the mask features there, the true
            masks (num_gts, points), and whether a point is one that the object's mask is to look at first, (num_gts,
            points) bool, or None where all are alike.
        """
        points = self.draw(len(targets), mask_features.device)
        if self.box_share:
            points = [self._moved_into_boxes(t, p) for t, p in zip(targets, points, strict=True)]
        points = [_labelled_points(t, p) for t, p in zip(targets, points, strict=True)]
        features = [PointFeatures.sample(f, p) for f, p in zip(mask_features, points, strict=True)]
        masks = [_sample_masks(t, p) for t, p in zip(targets, points, strict=True)]
        return features, masks, [self._first(t, p) for t, p in zip(targets, points, strict=True)]

    def _moved_into_boxes(self, targets: Targets, points: Tensor) -> Tensor:
        """A share of uniform points (num_points, 2), uniform in the grown box of a random object each."""
        if not len(targets.boxes):
            return points
        chosen = torch.randint(len(targets.boxes), points.shape[:1], device=points.device)
        low, high = self._grown(targets.boxes)[chosen].clamp(0, 1).split(2, -1)
        moved = (low + points * (high - low)).clamp(max=1 - 1e-6)
        return torch.where(torch.rand_like(points[:, :1]) < self.box_share, moved, points)

    def _first(self, targets: Targets, points: Tensor) -> Tensor | None:
        if not self.box_share:
            return None
        low, high = self._grown(targets.boxes)[:, None].split(2, -1)
        return ((points >= low) & (points <= high)).all(-1) | ~targets.is_thing[:, None]

    def _grown(self, boxes: Tensor) -> Tensor:
        """Boxes (n, 4) cxcywh, grown, as xyxy."""
        return cxcywh_to_xyxy(boxes * from_host([1, 1, *[1 + 2 * self.box_margin] * 2], boxes))

    @torch.no_grad()
    def select(self, logits: Tensor, first: Tensor | None = None) -> Tensor:
        """Points of the loss of each mask.

        Args:
            logits (Tensor): (num_masks, points) of all drawn points.
            first (Tensor | None): (num_masks, points) bool, points that are chosen before all others; None: they are
                alike.

        Returns:
            Tensor: (num_masks, num_points) int64 indices.
        """
        candidates = logits[:, : self.num_candidates]
        if first is not None:
            # Far above any logit in a mask's own box; float32 still tells those of the others apart.
            candidates = candidates.abs() + 1e4 * ~first[:, : self.num_candidates]
        important = smallest(candidates, self.num_important)
        random = torch.arange(self.num_candidates, logits.shape[1], device=logits.device)
        return torch.cat([important, random.expand(len(logits), -1)], 1)


def _labelled_points(targets: Targets, points: Tensor) -> Tensor:
    return points if targets.ignored is None else move_out(points, targets.ignored)


def _sample_masks(targets: Targets, points: Tensor) -> Tensor:
    """Masks in the points; next to an ignored pixel only its labelled neighbours count."""
    masks = sample_binary_masks(targets.masks, points)
    if targets.ignored is None:
        return masks
    # The pixel that holds the point is labelled and has at least a quarter of the weight.
    labelled = 1 - sample_binary_masks(targets.ignored[None], points)
    return masks / labelled.clamp(min=0.25)
