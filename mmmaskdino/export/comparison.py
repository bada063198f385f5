"""How far the outputs of two runtimes lie apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.special import expit, softmax

from mmmaskdino.structures import Shape

TOLERANCE = 1e-3
CERTAIN = 30.0  # beyond it, the probability of a mask logit is 0 or 1 to within 1e-13
Outputs = Mapping[str, np.ndarray]


def compare_raw(expected: Outputs, found: Outputs, use_sigmoid: bool, steep_masks: bool = False) -> dict[str, float]:
    """Largest differences of raw outputs.

    Queries are a set: selected tokens whose scores are equal but for rounding may change places. So each query is
    compared with its counterpart of the other runtime.

    Args:
        expected (Outputs): Raw outputs of :class:`ExportedNetwork`.
        found (Outputs): The same from elsewhere.
        use_sigmoid (bool): How class logits become scores.
        steep_masks (bool): Whether masks know their box: their logits fall steeply around it, and it is known but for
            rounding. They are compared as probabilities.

    Returns:
        dict[str, float]: Of ``scores``, ``boxes`` and, if there are masks, ``mask_logits``.
    """
    names = ['scores', *(name for name in expected if name != 'class_logits')]
    expected, found = (_with_scores(outputs, use_sigmoid) for outputs in (expected, found))
    if steep_masks and 'mask_logits' in names:
        for outputs in (expected, found):
            logits = outputs['mask_logits']
            outputs['mask_logits'] = np.where(np.isfinite(logits), expit(logits), logits)
    ours, theirs = _counterparts(*(np.concatenate([x['scores'], x['boxes']], 1) for x in (expected, found)))
    return {name: _largest(expected[name][ours], found[name][theirs]) for name in names}


def compare_results(expected: Outputs, found: Outputs, canvas: Shape, image: Shape) -> dict[str, float]:
    """Largest differences of results.

    Instances are compared in pairs of the same class, since two of nearly the same score may change places. One that
    is in the other list not at all counts, unless it is the last but for rounding.

    Args:
        expected (Outputs): Results of :class:`ExportedNetwork`.
        found (Outputs): The same from elsewhere.
        canvas (Shape): (H, W) of the network's input.
        image (Shape): Height and width without the padding, which is not compared.

    Returns:
        dict[str, float]: Of ``scores``, of ``boxes`` as a share of the canvas, and of ``masks``, ``panoptic`` and
        ``semantic`` the share of pixels that differ (of masks, in the worst one).
    """
    rows, columns = slice(image[0]), slice(image[1])
    differences = {} if 'scores' not in expected else _compare_instances(expected, found, canvas, (rows, columns))
    for name in ('panoptic', 'semantic'):
        if name in expected:
            differences[name] = float((expected[name][rows, columns] != found[name][rows, columns]).mean())
    return differences


def _compare_instances(expected: Outputs, found: Outputs, canvas: Shape, window: tuple) -> dict[str, float]:
    sides = np.array([*canvas[::-1], *canvas[::-1]], np.float32)
    keys = [
        np.concatenate([x['labels'][:, None], x['scores'][:, None], x['boxes'] / sides], 1) for x in (expected, found)
    ]
    ours, theirs = _counterparts(*keys)
    ours, theirs, num_lost = _without_last(keys, ours, theirs)
    differences = dict(
        scores=_largest(expected['scores'][ours], found['scores'][theirs]),
        boxes=_largest(keys[0][ours, 2:], keys[1][theirs, 2:]),
    )
    if num_lost:
        differences['scores'] = float('inf')
    if 'masks' in expected:
        masks, others = (x['masks'][(slice(None), *window)] for x in (expected, found))
        shares = [(masks[i] != others[j]).mean() for i, j in zip(ours, theirs, strict=True)]
        differences['masks'] = float(max(shares, default=0.0))
    return differences


def _without_last(keys: list[np.ndarray], ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """The pairs of the same instance, and the number of instances that should have a counterpart and have none."""
    distances = np.abs(keys[0][ours] - keys[1][theirs]).max(1)
    same = distances < 10 * TOLERANCE
    lost = 0
    for key, paired in zip(keys, (ours[same], theirs[same]), strict=True):
        alone = np.delete(key[:, 1], paired)
        lost += int((alone > key[:, 1].min() + TOLERANCE).sum()) if len(alone) else 0
    return ours[same], theirs[same], lost


def _with_scores(outputs: Outputs, use_sigmoid: bool) -> dict[str, np.ndarray]:
    """Raw outputs of the one image, with scores."""
    outputs = {name: output[0] for name, output in outputs.items()}
    if 'mask_logits' in outputs:
        logits = outputs['mask_logits']
        outputs['mask_logits'] = np.where(np.isfinite(logits), logits.clip(-CERTAIN, CERTAIN), logits)
    logits = outputs.pop('class_logits')
    return dict(outputs, scores=expit(logits) if use_sigmoid else softmax(logits, -1))


def _counterparts(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the pairs that lie closest together."""
    return linear_sum_assignment(cdist(ours, theirs, 'chebyshev'))


def _largest(expected: np.ndarray, found: np.ndarray) -> float:
    return float(np.abs(expected - found).max(initial=0.0))
