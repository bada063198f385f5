"""A training as one line."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from mmmaskdino import progress
from mmmaskdino.engine import ProgressHook


def test_one_line_of_progress_and_one_per_evaluation(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, 'QUIET_SECONDS', 1e-9)
    hub = MessageHub('progress hook')
    runner = SimpleNamespace(iter=2, max_iters=6, message_hub=hub)
    hook = ProgressHook(interval=2)
    hook.before_train(runner)
    for _ in range(4):
        hub.update_scalar('train/loss', 12.5)
        hook.after_train_iter(runner)
        runner.iter += 1
    hook.after_val_epoch(runner, {'coco_panoptic/PQ': 81.26, 'coco/bbox_mAP': 0.5123, 'coco/bbox_mAP_50': 0.8})
    hook.after_train(runner)
    lines = capsys.readouterr().err.splitlines()
    assert 'iteration 6: box AP 0.512, PQ 81.3' in lines
    assert lines[-1].startswith('training: 6/6') and 'loss=12.5' in lines[-1]


def test_an_evaluation_without_training_says_nothing(capsys: pytest.CaptureFixture) -> None:
    ProgressHook().after_val_epoch(SimpleNamespace(iter=0), {'coco/bbox_mAP': 0.5})
    assert capsys.readouterr().err == ''
