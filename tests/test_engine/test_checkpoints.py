"""Files that are whole, and which checkpoint is the best; what stops a run is in tests/test_robustness."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine import fileio
from mmengine.logging import MessageHub

from mmmaskdino.engine import AtomicLocalBackend, ResumableCheckpointHook


def test_writes_what_mmengine_writes(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'folder' / 'a.txt'
    fileio.put(b'one', path, backend_args=dict(backend='atomic'))
    assert path.read_bytes() == b'one'
    fileio.put_text('zwölf', path, backend_args=dict(backend='atomic'))
    assert path.read_text(encoding='utf-8') == 'zwölf'
    assert os.listdir(path.parent) == ['a.txt']


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*args) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    path = tmp_path / 'a.pth'
    path.write_bytes(b'old')
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match='No space left'):
        AtomicLocalBackend().put(b'new', path)
    assert os.listdir(tmp_path) == ['a.pth'] and path.read_bytes() == b'old'


def test_the_content_is_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spy(name: str) -> None:
        do = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args: calls.append(name) or do(*args))

    calls = []
    spy('fsync')
    spy('replace')
    AtomicLocalBackend().put(b'new', tmp_path / 'a.pth')
    assert calls == ['fsync', 'replace', 'fsync']  # of the file, then of the folder


def test_removing_afterwards(tmp_path: Path) -> None:
    backend = AtomicLocalBackend()
    old = [tmp_path / name for name in ('a', 'b', 'c')]
    for path in old:
        path.write_bytes(b'')
    with pytest.raises(OSError), backend.removing_afterwards():
        backend.remove(old[0])
        raise OSError
    with backend.removing_afterwards():
        backend.remove(old[1])
        assert old[1].exists()
    backend.remove(old[2])
    assert [path.exists() for path in old] == [True, False, False]


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
