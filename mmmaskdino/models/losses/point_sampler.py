"""The points in which masks are compared."""

from collections.abc import Sequence

import torch
from torch import Tensor

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

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, num_points: int, oversample_ratio: float, importance_sample_ratio: float) -> None:
        if num_points < 1 or oversample_ratio < 1 or not 0 <= importance_sample_ratio <= 1:
            raise ValueError(
                'point sampling needs num_points >= 1, oversample_ratio >= 1 and importance_sample_ratio in [0, 1], '
                f'got {num_points}, {oversample_ratio} and {importance_sample_ratio}'
            )
        self.num_points = num_points
        self.num_candidates = int(num_points * oversample_ratio)
        self.num_important = int(num_points * importance_sample_ratio)

    def draw(self, bs: int, device: torch.device) -> Tensor:
        """(bs, num_candidates + num_random, 2) uniform points (x, y) in [0, 1)."""
        num_random = self.num_points - self.num_important
        return torch.rand(bs, self.num_candidates + num_random, 2, device=device)

    def sample(self, mask_features: Tensor, targets: Sequence[Targets]) -> tuple[list[PointFeatures], list[Tensor]]:
        """Draw points outside what is ignored, for the mask features and the true masks.

        Args:
            mask_features (Tensor): (bs, mask_dims, h, w).
            targets (Sequence[Targets]): Masks per image, on the same canvas.

        Returns:
            tuple[list[PointFeatures], list[Tensor]]: Per image the mask features there and (num_gts, points).
        """
        points = self.draw(len(targets), mask_features.device)
        points = [_labelled_points(t, p) for t, p in zip(targets, points, strict=True)]
        features = [PointFeatures.sample(f, p) for f, p in zip(mask_features, points, strict=True)]
        return features, [_sample_masks(t, p) for t, p in zip(targets, points, strict=True)]

    @torch.no_grad()
    def select(self, logits: Tensor) -> Tensor:
        """Points of the loss of each mask.

        Args:
            logits (Tensor): (num_masks, points) of all drawn points.

        Returns:
            Tensor: (num_masks, num_points) int64 indices.
        """
        important = smallest(logits[:, : self.num_candidates], self.num_important)
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
