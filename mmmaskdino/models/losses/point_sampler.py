"""The points in which masks are compared."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mmmaskdino.models.utils.points import PointFeatures, move_out, sample_binary_masks
from mmmaskdino.structures import Targets

# Masks whose points a thread of the host chooses at a time: few enough for its cache.
HOST_ROWS = 4


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
        if not logits.is_cuda:
            return torch.from_numpy(self._select_on_host(logits.numpy()))
        certainty = logits[:, : self.num_candidates].abs()
        important = certainty.topk(self.num_important, dim=1, largest=False, sorted=False).indices
        random = torch.arange(self.num_candidates, logits.shape[1], device=logits.device)
        return torch.cat([important, random.expand(len(logits), -1)], 1)

    def _select_on_host(self, logits: np.ndarray) -> np.ndarray:
        """The same several times faster: NumPy partitions with vector instructions, and lets other threads run."""
        num = self.num_important
        chosen = np.empty((len(logits), num + logits.shape[1] - self.num_candidates), np.int64)
        chosen[:, num:] = np.arange(self.num_candidates, logits.shape[1])

        def choose(start: int) -> None:
            rows = slice(start, start + HOST_ROWS)
            chosen[rows, :num] = _smallest(np.abs(logits[rows, : self.num_candidates]), num)

        if num:
            list(_threads(torch.get_num_threads()).map(choose, range(0, len(logits), HOST_ROWS)))
        return chosen


def _smallest(values: np.ndarray, num: int) -> np.ndarray:
    """(rows, num) int64 columns of the smallest values of each row (rows, columns), in any order.

    In rising order, unless values are equal or not numbers; then what reads them reads memory in order.
    """
    limit = np.partition(values, num - 1, axis=1)[:, num - 1 : num]
    small = values <= limit
    if (np.count_nonzero(small, axis=1) != num).any():
        return np.argpartition(values, num - 1, axis=1)[:, :num]
    return np.flatnonzero(small).reshape(-1, num) - np.arange(0, values.size, values.shape[1])[:, None]


@lru_cache(maxsize=1)
def _threads(num: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num, thread_name_prefix='point-sampler')


if hasattr(os, 'register_at_fork'):  # a forked process has none of the threads and would wait for them
    os.register_at_fork(after_in_child=_threads.cache_clear)


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
