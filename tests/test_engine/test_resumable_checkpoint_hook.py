"""Which checkpoint is the best; what stops a run is in tests/test_robustness."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.logging import MessageHub

from mmmaskdino.engine import ResumableCheckpointHook


class FakeRunner:
    """Writes checkpoints of nothing."""

    def __init__(self, folder: Path) -> None:
        self.work_dir, self.iter, self.epoch, self.max_iters = str(folder), 0, 0, 100
        self.message_hub = MessageHub('test_resumable_checkpoint_hook')
        self.lines: list[str] = []
        self.logger = SimpleNamespace(info=self.lines.append, warning=self.lines.append)

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        torch.save({}, Path(out_dir) / filename)


@pytest.fixture
def evaluate(tmp_path: Path):
    """Runs one evaluation after another; returns the best checkpoint at the end, and what was said."""

    def _evaluate(save_best: str, *evaluations: dict[str, float], **options) -> tuple[list[str], list[str]]:
        hook = ResumableCheckpointHook(by_epoch=False, save_best=save_best, **options)
        runner = FakeRunner(tmp_path)
        hook.before_train(runner)
        for metrics in evaluations:
            runner.iter += 1
            hook.after_val_epoch(runner, metrics)
        return sorted(path.name for path in tmp_path.glob('best_*')), runner.lines

    return _evaluate


@pytest.mark.parametrize(
    'name', ['coco_panoptic/PQ', 'coco_panoptic/SQ_th', 'coco_panoptic/RQ_st', 'semantic/mIoU', 'mFscore', 'mRecall']
)
def test_larger_metrics_of_the_package_are_better(evaluate, name: str) -> None:
    for save_best in (name, 'auto'):
        best, _ = evaluate(save_best, {name: 10.0}, {name: 30.0}, {name: 20.0})
        assert best == [f'best_{name.replace("/", "_")}_iter_2.pth']


def test_a_rule_of_ones_own_holds(evaluate) -> None:
    assert evaluate('PQ', {'PQ': 3.0}, {'PQ': 2.0}, rule='less')[0] == ['best_PQ_iter_2.pth']


@pytest.mark.parametrize('score', [-1.0, math.nan])
def test_what_could_not_be_measured_is_not_the_best(evaluate, score: float) -> None:
    name = 'coco/segm_mAP'
    best, lines = evaluate(name, {name: score, 'coco/bbox_mAP': 0.5})
    assert best == []
    assert (
        f'save_best: no best checkpoint by {name} after this evaluation: it is {score}: there was nothing' in lines[-1]
    )
    assert evaluate(name, {name: score}, {name: 0.0}, {name: score})[0] == ['best_coco_segm_mAP_iter_2.pth']


def test_a_metric_that_is_missing_ends_no_run(evaluate) -> None:
    """As where nothing is predicted: mmdet's metric gives no AP at all then."""
    best, lines = evaluate('coco/segm_mAP', {'PQ': 1.0})
    assert best == [] and lines[-1].endswith("it is not among ['PQ']")
