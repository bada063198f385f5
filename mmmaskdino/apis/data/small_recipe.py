"""Sizes and numbers of the small model, from what is in a dataset, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .checking import SplitSummary
from .comparison import choose_parts

BATCH = 2  # images of each process in a step: more steps teach more than larger ones
RATE = 2e-3
NUM_POINTS = 512  # of each mask's loss
POINTS_OF_OBJECT = 4  # that a small object must have of these, if they are drawn anywhere
SIDES = (256, 320, 384, 448, 512)  # of images; stride 32 divides them
PIXELS_OF_OBJECT = 20  # root of the area, of the object in the middle; the finest tokens stand 8 pixels apart
MIN_ITERS, MAX_ITERS, EPOCHS = 1000, 20000, 30
FEW_EPOCHS = 12
MAX_PROPOSAL = 0.9  # a first box as large as the image would touch its border, and be no candidate


class SmallRecipe(NamedTuple):
    """What the small model is trained with."""

    side: int
    """The longer side of the images in pixels, for training and prediction."""
    num_queries: int
    proposal_sizes: tuple[float, ...]
    """Of the queries' first boxes, as shares of the image; finest level first."""
    num_points: int
    """Of each mask's loss."""
    box_point_share: float
    """Of these, those drawn in the objects' boxes."""
    scales: tuple[float, float]
    """Range of the factor that training images are resized by."""
    batch: int
    """Images of a step, of each process."""
    rate: float
    iters: int
    reasons: tuple[str, ...]
    """A line for each choice."""


def choose_recipe(
    summaries: Sequence[SplitSummary],
    num_processes: int = 1,
    side: int | None = None,
    epochs: int | None = None,
    iters: int | None = None,
) -> SmallRecipe:
    """Choose sizes and numbers.

    Args:
        summaries: Of all parts of the data, instances or panoptic; that to train on counts.
        num_processes: Which share the batch.
        side: Of the images, where it is given.
        epochs: Passes over the images, where they are given.
        iters: Training steps, where they are given; they outdo the epochs.

    Returns:
        The recipe.

    Raises:
        DataError: No part is there to train on.
    """
    train, _ = choose_parts(summaries)
    areas, reasons = _relative_areas(train), []
    middle, small = (float(np.quantile(areas, q)) for q in (0.5, 0.25))
    side = side or _choose_side(train, middle, reasons)

    counts = train.objects_per_image or [0]
    usual, most = (int(np.quantile(counts, q, method='higher')) for q in (0.5, 0.98))
    num_queries = min(max(50, 10 * math.ceil(1.5 * most / 10)), 300)
    reasons.append(f'{num_queries} queries: {usual} objects in the usual image, {most} in the fullest fiftieth')

    sizes = np.array(train.box_sizes or [0.1, 0.2, 0.4])
    proposals = tuple(round(min(max(float(np.quantile(sizes, q)), 0.02), MAX_PROPOSAL), 2) for q in (0.25, 0.6, 0.9))
    reasons.append(f'first boxes of {proposals} of the image: the smaller, usual and larger boxes of the data')

    hit = small * NUM_POINTS
    share = 0.5 if hit < POINTS_OF_OBJECT else 0.0
    reasons.append(
        f"{NUM_POINTS} points for each mask's loss, {'half of them in the boxes of objects' if share else 'anywhere'}: "
        f'a small object (a quarter is smaller) has {small:.2%} of its image, {hit:.2g} points'
    )

    total = BATCH * num_processes
    if not iters:
        wanted = (epochs or EPOCHS) * train.num_images / total
        iters = math.ceil(wanted) if epochs else int(min(max(wanted, MIN_ITERS), MAX_ITERS))
    passes = iters * total / max(train.num_images, 1)
    scales = (0.8, 1.25) if passes < FEW_EPOCHS else (0.5, 2.0)
    reasons.append(f'{iters} steps of {total} images: each of the {train.num_images} images {passes:.3g} times')
    reasons.append(
        f'images resized by {scales[0]} to {scales[1]} and flipped: '
        + ('seen too seldom to be learnt by heart' if passes < FEW_EPOCHS else 'few images, seen often')
    )
    return SmallRecipe(side, num_queries, proposals, NUM_POINTS, share, scales, BATCH, RATE, iters, tuple(reasons))


def _relative_areas(train: SplitSummary) -> np.ndarray:
    """Areas of objects as shares of the image in the middle of the sizes."""
    if not train.areas or not train.sizes:
        return np.array([0.01])
    return np.array(train.areas) / np.median([width * height for width, height in train.sizes])


def _choose_side(train: SplitSummary, area: float, reasons: list[str]) -> int:
    """The smallest side at which the object in the middle is large enough to be told, but not above the files'."""
    width, height = np.median(train.sizes or [(SIDES[-1], SIDES[-1])], axis=0)
    files = 32 * math.ceil(max(width, height) / 32)
    shown = math.sqrt(area * width * height) / max(width, height)  # of the object, as share of the longer side
    fitting = [side for side in SIDES if side * shown >= PIXELS_OF_OBJECT] or [SIDES[-1]]
    side = min(fitting[0], files)
    reasons.append(
        f'images of {side} pixels (files: {max(width, height):.0f}): the usual object is {side * shown:.0f} pixels wide'
    )
    return side
