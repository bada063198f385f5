"""The models that are measured, and what is measured of one of them."""

from __future__ import annotations

import copy
import gc
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import mmdet
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

import mmmaskdino  # noqa: F401  registers the model
from mmmaskdino.apis.selftest import OperationCounter, make_batch
from mmmaskdino.hub import find_config
from mmmaskdino.structures import Shape

from .flops import count_flops
from .stopwatch import Stopwatch

# Configs that mmdet ships.
PEERS = {
    'DINO': 'dino/dino-4scale_r50_8xb2-12e_coco.py',
    'Mask2Former': 'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    'Mask R-CNN': 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
}


class Case(NamedTuple):
    """What a model is run on."""

    training: bool
    size: Shape
    bs: int = 1
    num_objects: int = 5


INFERENCE = Case(False, (480, 640))
TRAINING = Case(True, (256, 256), bs=2)
CROWDED = TRAINING._replace(num_objects=100)


def load_config(name: str) -> Config:
    """Config of a peer or of the model zoo by its name, or of a file.

    Raises:
        ValueError: If it is neither.
    """
    if name not in PEERS:
        return Config.fromfile(find_config(name))
    path = Path(mmdet.__file__).parent / '.mim' / 'configs' / PEERS[name]
    if not path.is_file():
        raise ValueError(f'expected the config of {name} in mmdet, and there is no file {path}')
    return Config.fromfile(path)


def build_model(name: str, options: Mapping[str, Any] | None = None, device: str = 'cpu') -> nn.Module:
    """A detector with random weights; nothing is downloaded.

    Args:
        name (str): As of :func:`load_config`.
        options (Mapping | None): Changes of the config by dotted key.
        device (str): Where to put it.
    """
    cfg = load_config(name)
    cfg.merge_from_dict(dict(options or {}))
    cfg.model.backbone.init_cfg = None
    torch.manual_seed(0)
    logging.disable(logging.INFO)  # the list of all parameters
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    model.init_weights()
    logging.disable(logging.NOTSET)
    return model.to(device)


class Subject:
    """A model with batches and a stopwatch.

    Args:
        model (nn.Module): A detector.
        device (str): Where it is.
    """

    def __init__(self, model: nn.Module, device: str = 'cpu') -> None:
        self.model, self.device = model, device
        self._stopwatch = Stopwatch()
        self._stopwatch.watch_parts(model)
        self._batches: dict[Case, tuple[Tensor, list[DetDataSample]]] = {}

    def run(self, case: Case) -> dict[str, float]:
        """Run a case once.

        Returns:
            dict[str, float]: Seconds by part: ``forward``, ``matching``, ``loss``, ``backward`` of a training step,
            ``forward`` and ``results`` of an inference.
        """
        images, samples = self._batch(case)
        samples = copy.deepcopy(samples)  # results are written into them
        torch.manual_seed(1)
        (self._train if case.training else self._infer)(images, samples)
        self.model.zero_grad(set_to_none=True)
        return self._stopwatch.take()

    def loss(self, case: Case) -> Tensor:
        """Sum of all losses of a training step, with its graph."""
        images, samples = self._batch(case)
        self.model.train()
        torch.manual_seed(1)
        return _total(self.model.loss(images, copy.deepcopy(samples)))

    def count(self, case: Case) -> OperationCounter:
        """Operations and waits of a case that has run before."""
        self.run(case)
        counter = OperationCounter()
        with counter:
            self.run(case)
        return counter

    def flops(self, case: Case) -> int:
        """Floating-point operations of a case."""
        return count_flops(lambda: self.run(case))

    def _batch(self, case: Case) -> tuple[Tensor, list[DetDataSample]]:
        if case not in self._batches:
            torch.manual_seed(0)
            head = getattr(self.model, 'panoptic_head', None)
            counts = getattr(head, 'num_things_classes', 80), getattr(head, 'num_stuff_classes', 0)
            batch = make_batch(case.bs, case.size, case.num_objects, *counts, device=self.device)
            self._batches[case] = batch
        return self._batches[case]

    def _train(self, images: Tensor, samples: list[DetDataSample]) -> None:
        self.model.train()
        total = self._timed('forward', lambda: _total(self.model.loss(images, samples)))
        self._timed('backward', total.backward)

    @torch.no_grad()
    def _infer(self, images: Tensor, samples: list[DetDataSample]) -> None:
        self.model.eval()
        self._timed('forward', lambda: self.model.predict(images, samples))

    def _timed(self, part: str, function: Callable[[], Any]) -> Any:
        self._stopwatch.start(part)
        result = function()
        self._stopwatch.stop()
        return result


def interleaved(subjects: Mapping[str, Subject], case: Case, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Seconds by part of every round of every model, after one round to warm up; models take turns.

    What slows the machine down for a while slows all models down, so their ratios hold.
    """
    times: dict[str, list[dict[str, float]]] = {name: [] for name in subjects}
    for i in range(rounds + 1):
        for name, subject in subjects.items():
            gc.collect()
            seconds = subject.run(case)
            if i:
                times[name].append(seconds)
    return times


def _total(losses: Mapping[str, Any]) -> Tensor:
    named = {name: loss if isinstance(loss, list) else [loss] for name, loss in losses.items() if 'loss' in name}
    return sum(value.sum() if value.dim() else value for values in named.values() for value in values)
