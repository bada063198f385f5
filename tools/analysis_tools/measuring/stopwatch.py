"""Times of the parts of a model."""

from __future__ import annotations

import functools
import time
from collections import Counter
from contextlib import closing
from operator import attrgetter
from typing import Any

import torch
from torch import nn

# Methods of detectors of mmdet and of this package, by what they do; those that a model has are watched.
PARTS = {
    'loss': [
        'panoptic_head.criterion.forward',
        'panoptic_head.loss_by_feat',
        'bbox_head.loss_by_feat',
        'rpn_head.loss_by_feat',
        'roi_head.bbox_head.loss_and_target',
        'roi_head.mask_head.loss_and_target',
    ],
    'matching': [
        'panoptic_head.criterion.assigner.assign_groups',
        'panoptic_head.assigner.assign',
        'bbox_head.assigner.assign',
        'rpn_head.assigner.assign',
        'roi_head.bbox_assigner.assign',
    ],
    'results': [
        'panoptic_fusion_head.predict',
        'bbox_head.predict_by_feat',
        'rpn_head.predict_by_feat',
        'roi_head.bbox_head.predict_by_feat',
        'roi_head.mask_head.predict_by_feat',
    ],
}


class Stopwatch:
    """Adds up the seconds spent in watched methods; a method within another counts for itself alone."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()
        self._running: list[str] = []
        self._since = 0.0

    def watch_parts(self, model: nn.Module) -> None:
        """Watch all methods of :data:`PARTS` that a model has."""
        for part, paths in PARTS.items():
            for path in paths:
                owner, _, method = path.rpartition('.')
                try:
                    self.watch(attrgetter(owner)(model), method, part)
                except AttributeError:
                    continue

    def watch(self, owner: Any, method: str, part: str) -> None:
        """Watch a method of an object.

        Raises:
            AttributeError: There is none.
        """
        setattr(owner, method, self._watched(getattr(owner, method), part))

    def watch_items(self, owner: Any, method: str, part: str) -> None:
        """Watch a method that returns a generator: how long each item lets wait."""
        function = getattr(owner, method)

        def items(*args, **kwargs):
            with closing(function(*args, **kwargs)) as generator:
                take = self._watched(generator.__next__, part)
                while True:
                    try:
                        item = take()
                    except StopIteration:
                        return
                    yield item

        setattr(owner, method, items)

    def start(self, part: str) -> None:
        """From now on seconds belong to this part, until :meth:`stop`."""
        self._book()
        self._running.append(part)

    def stop(self) -> None:
        """Seconds belong to the part before again."""
        self._book()
        self._running.pop()

    def take(self) -> dict[str, float]:
        """The seconds since the last call, by part."""
        seconds, self._seconds = dict(self._seconds), Counter()
        return seconds

    def _watched(self, function, part):
        @functools.wraps(function)
        def call(*args, **kwargs):
            self.start(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.stop()

        return call

    def _book(self) -> None:
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self._running:
            self._seconds[self._running[-1]] += now - self._since
        self._since = now
