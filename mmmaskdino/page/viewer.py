"""What the page shows for a photograph, without the page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmengine.structures import BaseDataElement

from mmmaskdino.apis.inference import Predictor
from mmmaskdino.apis.inference.model import SWITCHES
from mmmaskdino.models.utils import head_of
from mmmaskdino.results import label_map, mask_array

# What can be looked at -> the results it is drawn from.
VIEWS = {
    'panoptic': 'panoptic',
    'boxes and masks': 'instances',
    'boxes': 'instances',
    'semantic': 'semantic',
}


class View(NamedTuple):
    """A picture, and what is in it."""

    picture: np.ndarray
    """(h, w, 3) uint8, RGB."""
    rows: list[list[Any]]
    """Class, score or None, and what share of the picture it covers in percent; the largest or best first."""


class Thresholds(NamedTuple):
    """Of :class:`FusionSettings`."""

    score_thr: float = 0.3
    max_per_image: int = 100
    object_mask_thr: float = 0.25
    overlap_thr: float = 0.8
    box_margin: float | None = None


class Viewer:
    """Predicts and draws, one photograph at a time.

    Args:
        predictor (Predictor): The model.
        max_side (int): Longest side of the pictures in pixels.
    """

    def __init__(self, predictor: Predictor, max_side: int = 1600) -> None:
        self._predictor = predictor
        self._max_side = max_side
        self._lock = threading.Lock()

    @property
    def views(self) -> list[str]:
        """What the model gives, of :data:`VIEWS`."""
        if not head_of(self._predictor.model).with_masks:
            return ['boxes']
        return [view for view, kind in VIEWS.items() if kind in self._predictor.kinds]

    @property
    def thresholds(self) -> Thresholds | None:
        """Those of the config; None for a semantic model, which has none."""
        fusion = getattr(self._predictor.model, 'panoptic_fusion_head', None)
        return fusion and Thresholds(*(getattr(fusion.settings, name) for name in Thresholds._fields))

    def show(self, path: str | Path, view: str, thresholds: Thresholds | None = None) -> View:
        """Predict for an image file and draw one view.

        Args:
            path (str | Path): The file.
            view (str): One of :attr:`views`.
            thresholds (Thresholds | None): None for those of the config.

        Returns:
            View: The picture and what is in it.

        Raises:
            DataError: The file is no image, damaged, or too large.
            ValueError: The model does not give this view, or a threshold is out of its range.
        """
        if view not in self.views:
            raise ValueError(f'the model gives {", ".join(self.views)}, no {view}')
        kind = VIEWS[view]
        with self._lock, self._settings(kind, thresholds):
            prediction = self._predictor(str(path))
        sample = prediction.sample
        rows = self._instance_rows(sample) if kind == 'instances' else self._segment_rows(sample, kind)
        if view == 'boxes' and 'masks' in sample.pred_instances:
            del sample.pred_instances.masks
        return View(self._predictor.draw(prediction, kind, self._max_side), rows)

    @contextmanager
    def _settings(self, kind: str, thresholds: Thresholds | None) -> Iterator[None]:
        """Only the wanted results are computed, with these thresholds."""
        fusion = getattr(self._predictor.model, 'panoptic_fusion_head', None)
        if fusion is None:
            yield
            return
        before = fusion.settings
        switches = {switch: name == kind for name, switch in SWITCHES.items()}
        fusion.settings = replace(before, **switches, **(thresholds._asdict() if thresholds else {}))
        try:
            yield
        finally:
            fusion.settings = before

    def _instance_rows(self, sample: BaseDataElement) -> list[list[Any]]:
        instances = sample.pred_instances
        height, width = sample.ori_shape[:2]
        if 'masks' in instances:
            areas = mask_array(instances.masks).sum((1, 2))
        else:
            areas = (instances.bboxes[:, 2:] - instances.bboxes[:, :2]).clamp(min=0).prod(1)
        found = zip(instances.labels.tolist(), instances.scores.tolist(), areas.tolist(), strict=True)
        return [
            [self._classes[label], round(score, 3), _percent(area / (height * width))] for label, score, area in found
        ]

    def _segment_rows(self, sample: BaseDataElement, kind: str) -> list[list[Any]]:
        values = label_map(sample.pred_panoptic_seg if kind == 'panoptic' else sample.pred_sem_seg)
        ids, counts = np.unique(values, return_counts=True)
        labels = ids % INSTANCE_OFFSET if kind == 'panoptic' else ids
        return [
            [self._classes[labels[i]], None, _percent(counts[i] / values.size)]
            for i in np.argsort(-counts)
            if labels[i] < len(self._classes)
        ]

    @property
    def _classes(self) -> list[str]:
        return list(self._predictor.dataset_meta['classes'])


def _percent(share: float) -> float:
    return round(100 * float(share), 1)
