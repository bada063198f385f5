"""Panoptic quality (Kirillov et al., Panoptic Segmentation, CVPR 2019) as COCO evaluates it, image by image."""

from typing import NamedTuple

import numpy as np

from mmmaskdino.datasets.files import DataError

VOID = 0


class PanopticImage(NamedTuple):
    """The segments of one image, annotated or predicted."""

    id_map: np.ndarray
    """(h, w) integer segment ids in [0, 2**31); ``VOID`` belongs to no segment."""
    ids: np.ndarray
    """(num_segments,) int64, distinct; every segment has pixels in ``id_map``."""
    labels: np.ndarray
    """(num_segments,) int64 class indices in [0, num_classes)."""
    is_crowd: np.ndarray
    """(num_segments,) bool; only looked at in the ground truth."""
    source: str
    """Where the image comes from, for error messages."""


class MatchCounts(NamedTuple):
    """What the matching of one image adds to the classes that occur in it."""

    labels: np.ndarray
    """(num_labels,) int64 class indices, distinct."""
    counts: np.ndarray
    """(num_labels, 4) float64: sum of the matched segments' IoU, true positives, false positives, false negatives."""


def count_matches(gt: PanopticImage, pred: PanopticImage, num_classes: int) -> MatchCounts:
    """Match the predicted segments of one image to the annotated ones.

    A pair of one class matches if its IoU, with the predicted pixels on void left out of the union, is above 0.5; such
    a match is unique. Crowd segments are never matched and never missed. A predicted segment without a match is no
    false positive if more than half of it lies on void and crowds of its class.

    Args:
        gt: Ground truth.
        pred: Prediction for the same image.
        num_classes: Number of classes.

    Raises:
        DataError: The sizes differ, or the ids of a map and of its list of segments disagree.
    """
    overlaps = _overlaps(gt, pred)
    gt_areas, pred_areas = overlaps.sum(1)[1:, None], overlaps.sum(0)[1:]
    on_void, inside = overlaps[0, 1:], overlaps[1:, 1:]
    same_class = gt.labels[:, None] == pred.labels
    ious = inside / (gt_areas + pred_areas - inside - on_void)
    matches = same_class & ~gt.is_crowd[:, None] & (ious > 0.5)

    on_crowd = (inside * (same_class & gt.is_crowd[:, None])).sum(0)
    found, missed = matches.any(1), ~matches.any(1) & ~gt.is_crowd
    wrong = ~matches.any(0) & ~((on_void + on_crowd) / pred_areas > 0.5)
    table = np.stack(
        [
            np.bincount(gt.labels, (ious * matches).sum(1), num_classes),
            np.bincount(gt.labels[found], minlength=num_classes),
            np.bincount(pred.labels[wrong], minlength=num_classes),
            np.bincount(gt.labels[missed], minlength=num_classes),
        ],
        axis=1,
    )
    labels = np.flatnonzero(table.any(1))
    return MatchCounts(labels, table[labels])


def _overlaps(gt: PanopticImage, pred: PanopticImage) -> np.ndarray:
    """Pixels that segments share, (1 + num_gts, 1 + num_preds) int64; row 0 and column 0 are void."""
    if gt.id_map.shape != pred.id_map.shape:
        (height, width), (pred_height, pred_width) = gt.id_map.shape, pred.id_map.shape
        raise DataError(
            f'{pred.source}: expected the size of the ground truth {gt.source}, {width} x {height}, '
            f'got {pred_width} x {pred_height}; results must be resized to the original image'
        )
    keys, areas = np.unique((gt.id_map.astype(np.int64) << 32) | pred.id_map, return_counts=True)
    table = np.zeros((1 + len(gt.ids), 1 + len(pred.ids)), np.int64)
    table[_segment_rows(gt, keys >> 32), _segment_rows(pred, keys & 0xFFFFFFFF)] = areas
    return table


def _segment_rows(image: PanopticImage, ids: np.ndarray) -> np.ndarray:
    """Index of each id in ``[VOID, *image.ids]``; ``ids`` are all values of its map."""
    known = np.concatenate([[VOID], image.ids])
    only_in_map, only_listed = np.setdiff1d(ids, known), np.setdiff1d(image.ids, ids)
    if len(only_in_map) or len(only_listed):
        raise DataError(
            f'{image.source}: the segment ids of the PNG and of the json disagree; only in the PNG: '
            f'{_shortened(only_in_map)}, only in the json: {_shortened(only_listed)}'
        )
    order = np.argsort(known)
    return order[np.searchsorted(known, ids, sorter=order)]


def _shortened(ids: np.ndarray, limit: int = 5) -> str:
    listed = ', '.join(str(i) for i in ids[:limit])
    return (f'{listed}, ... ({len(ids)} ids)' if len(ids) > limit else listed) or 'none'


class PanopticQuality:
    """The sums over all images, and the qualities that follow from them.

    Args:
        num_classes: Number of classes.
    """

    def __init__(self, num_classes: int) -> None:
        self.totals = np.zeros((num_classes, 4))

    def add(self, image: MatchCounts) -> None:
        """Add the counts of one image."""
        self.totals[image.labels] += image.counts

    def per_class(self) -> dict[str, np.ndarray]:
        """Qualities of each class.

        Returns:
            'pq', 'sq', 'rq': (num_classes,) float64 in [0, 1], 0 where a class does not occur; 'occurs':
            (num_classes,) bool, whether the class is in the ground truth or a counted prediction.
        """
        iou, tp, fp, fn = self.totals.T
        weight = tp + (fp + fn) / 2
        qualities = dict(pq=(iou, weight), sq=(iou, tp), rq=(tp, weight))
        zeros = np.zeros_like(iou)
        return {
            **{k: np.divide(a, b, out=zeros.copy(), where=b > 0) for k, (a, b) in qualities.items()},
            'occurs': weight > 0,
        }

    def average(self, classes: np.ndarray) -> dict[str, float]:
        """Mean qualities of those of the given classes that occur.

        Args:
            classes: (num_classes,) bool.

        Returns:
            'pq', 'sq', 'rq' in [0, 1], nan if none of the classes occurs, and 'n', the number of classes averaged.
        """
        values = self.per_class()
        chosen = classes & values.pop('occurs')
        n = int(chosen.sum())
        return {**{k: float(v[chosen].mean()) if n else float('nan') for k, v in values.items()}, 'n': n}
