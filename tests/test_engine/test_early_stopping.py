"""When a training ends early, and that a resumed one counts on."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.logging import MessageHub

from mmmaskdino.engine import ResumableCheckpointHook, ResumableEarlyStoppingHook

PQ = 'coco_panoptic/PQ'


class Run:
    """A training of evaluations alone, each after 10 iterations, with a checkpoint each `interval` evaluations."""

    def __init__(self, folder: Path, interval: int = 1, state: dict | None = None, **options: Any) -> None:
        self.work_dir, self.iter, self.epoch, self.max_iters = str(folder), 0, 0, 1000
        self.lines: list[str] = []
        self.logger = SimpleNamespace(info=self.lines.append, warning=self.lines.append)
        self.message_hub = MessageHub('test_early_stopping')
        self.message_hub.runtime_info.update(state or {})
        self.train_loop = SimpleNamespace(stop_training=False)
        self.interval = interval
        self.checkpoint = ResumableCheckpointHook(by_epoch=False)
        self.stopping = ResumableEarlyStoppingHook(**dict(dict(monitor=PQ, patience=2), **options))
        self.hooks = [self.checkpoint, self.stopping]
        for hook in self.hooks:
            hook.before_train(self)

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        torch.save(dict(self.message_hub.runtime_info), Path(out_dir) / filename)

    def evaluate(self, *scores: float | None, name: str = PQ) -> int:
        """Evaluate until the training stops or the scores end; returns how many evaluations were made."""
        for number, score in enumerate(scores, 1):
            self.iter += 10
            if number % self.interval == 0:
                self.checkpoint.save(self, self.iter)
            self.stopping.after_val_epoch(self, {} if score is None else {name: score})
            if self.train_loop.stop_training:
                return number
        return len(scores)

    def state(self) -> dict:
        """What the last checkpoint knows."""
        return torch.load(self.checkpoint.last_ckpt, weights_only=False)


@pytest.mark.parametrize(
    ('scores', 'options', 'number'),
    [
        ((10, 20, 15, 19, 30), {}, 4),
        ((10, 20, 15, 21, 20, 20, 30), {}, 6),
        ((0, 0, 0, 0), {}, 3),
        ((10, 20, 30, 40), {}, 4),
        ((10, 10.5, 10.9, 30), dict(min_delta=1.0), 3),
        ((10, 20, 30, 40), dict(stopping_threshold=25), 3),
        ((30, 20, 25, 10, 15, 15, 15), dict(rule='less'), 6),
        ((20, math.nan, 10, None, -1, 15, 30), {}, 6),
    ],
)
def test_stops_after_the_evaluation(tmp_path: Path, scores: tuple, options: dict, number: int) -> None:
    run = Run(tmp_path, **options)
    assert run.evaluate(*scores) == number
    assert run.train_loop.stop_training == (number < len(scores))


def test_ap_from_0_to_1(tmp_path: Path) -> None:
    """Steps of a hundredth are steps; by mmengine's default they are none."""
    name = 'coco/segm_mAP'
    assert Run(tmp_path, monitor=name).evaluate(0.30, 0.31, 0.32, 0.33, 0.34, name=name) == 5


def test_what_does_not_count_is_said(tmp_path: Path) -> None:
    run = Run(tmp_path, monitor='coco_panoptic/PQQ')
    run.evaluate(10.0)
    assert f"does not count by coco_panoptic/PQQ: it is not among ['{PQ}']" in run.lines[-1]


@pytest.mark.parametrize('interval', [1, 2, 5])
def test_where_it_stops_there_is_a_checkpoint(tmp_path: Path, interval: int) -> None:
    run = Run(tmp_path, interval)
    run.evaluate(10, 20, 15, 15, 15)
    assert Path(run.checkpoint.last_ckpt).name == 'iter_40.pth' and run.state()['early_stopping'] == (2, 20.0)


def test_a_resumed_run_counts_on(tmp_path: Path) -> None:
    """Also the evaluation that came after the checkpoint of the same iteration."""
    first = Run(tmp_path)
    assert first.evaluate(20, 10) == 2 and not first.train_loop.stop_training
    assert Run(tmp_path, state=first.state()).evaluate(19, 19) == 1
    assert Run(tmp_path).evaluate(19, 19) == 2


def test_a_stopped_run_stays_stopped(tmp_path: Path) -> None:
    for options in (dict(), dict(stopping_threshold=5)):
        first = Run(tmp_path, **options)
        first.evaluate(10, 5, 5)
        second = Run(tmp_path, state=first.state(), **options)
        assert second.train_loop.stop_training and 'a larger patience (2)' in second.lines[-1]
    assert not Run(tmp_path, state=first.state(), patience=3).train_loop.stop_training
