"""Training in several processes on the CPU: one that dies, one that is asked to end, and the way on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from mmmaskdino.engine import find_resumable_checkpoint

pytestmark = pytest.mark.slow
TIMEOUT = {'env_cfg.dist_cfg': dict(backend='gloo', timeout=60)}


class Send(Hook):
    """Sends a signal to its own process before an iteration."""

    def __init__(self, number: int, iteration: int) -> None:
        self.number, self.iteration = number, iteration

    def before_train_iter(self, runner, *args, **kwargs) -> None:
        if runner.iter == self.iteration:
            os.kill(os.getpid(), self.number)


def test_one_of_three_dies(train_ranks, tmp_path: Path) -> None:
    """The others end with an error that says so, well within the timeout, and save the last complete iteration."""
    begin = time.monotonic()
    statuses = train_ranks('died', 3, TIMEOUT, hooks={1: Send(signal.SIGKILL, 3)})
    assert statuses == [1, -signal.SIGKILL, 1]
    assert time.monotonic() - begin < 200
    for rank in (0, 2):
        last_line = (tmp_path / f'died_{rank}.txt').read_text().splitlines()[-1]
        assert f'process {rank} of 3 cannot go on: another process has ended' in last_line
    assert Path(find_resumable_checkpoint(tmp_path / 'died')).name == 'iter_3.pth'


def test_one_of_two_is_asked_to_end(train_ranks, read_losses, tmp_path: Path) -> None:
    """Both stop after the same iteration; resumed, each sees what it would have seen."""
    changes = {'train_cfg.max_iters': 4, 'default_hooks.checkpoint.interval': 100, **TIMEOUT}
    assert train_ranks('stopped', 2, changes, hooks={1: Send(signal.SIGTERM, 1)}) == [143, 143]
    path = find_resumable_checkpoint(tmp_path / 'stopped')
    assert Path(path).name == 'iter_2.pth'
    assert train_ranks('stopped', 2, {**changes, 'load_from': path, 'resume': True}) == [0, 0]
    assert train_ranks('whole', 2, changes) == [0, 0]
    expected, got = (torch.load(tmp_path / name / 'iter_4.pth', weights_only=False) for name in ('whole', 'stopped'))
    for name, tensor in expected['state_dict'].items():
        torch.testing.assert_close(got['state_dict'][name], tensor, rtol=1e-6, atol=1e-6, msg=name)
    first, second = (read_losses(f'stopped_{rank}') for rank in (0, 1))
    assert first[2] == pytest.approx(read_losses('whole_0')[2], rel=1e-6)
    assert first[0] != second[0]  # different images, different noise
