"""A run that is stopped at any moment goes on as if it had not been."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from mmmaskdino.engine import find_resumable_checkpoint

pytestmark = pytest.mark.slow
SIGTERM_STATUS = 128 + signal.SIGTERM


class KillInIteration(Hook):
    """The process is gone in the middle of an iteration: no hook after this one, no cleaning up."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner, *args, **kwargs) -> None:
        if runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)


class KillInWriting(Hook):
    """The process is gone when the file of a checkpoint is being written."""

    def before_train_iter(self, runner, *args, **kwargs) -> None:
        if runner.iter == 3:
            os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)


class FillDisk(Hook):
    """From an iteration on no file of more than 100 kB can be written."""

    def before_train_iter(self, runner, *args, **kwargs) -> None:
        if runner.iter == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


class KillInValidation(Hook):
    """The process is gone in the middle of the validation after an iteration, whose checkpoint is written."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_val_iter(self, runner, *args, **kwargs) -> None:
        if runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)


class Fail(Hook):
    """An error of a program in the forward pass or in a hook afterwards."""

    def __init__(self, where: str) -> None:
        self.where = where

    def before_train_iter(self, runner, *args, **kwargs) -> None:
        if runner.iter == 3 and self.where == 'model':
            runner.model.panoptic_head.criterion.loss_bbox.register_forward_hook(self.fail)

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        if runner.iter == 3 and self.where == 'hook':
            self.fail()

    @staticmethod
    def fail(*args, **kwargs) -> None:
        raise RuntimeError('a fault of a program')


class Terminate(Hook):
    """A cluster asks the job to end, more than once."""

    def before_train_iter(self, runner, *args, **kwargs) -> None:
        if runner.iter == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)


def load(path: str | Path) -> dict:
    return torch.load(path, map_location='cpu', weights_only=False)


@pytest.fixture(scope='module')
def whole_runs() -> dict[str, tuple]:
    """Losses and weights of the uninterrupted runs so far, by what was changed in the config."""
    return {}


@pytest.fixture
def check(train, read_losses, whole_runs, tmp_path: Path):
    """Resumes the run in `stopped`, and compares it with one that was not interrupted."""

    def _read(work_dir: str) -> tuple[dict, dict]:
        return read_losses(work_dir), load(tmp_path / work_dir / 'iter_6.pth')['state_dict']

    def _check(first: int, changes: dict | None = None) -> None:
        changes = changes or {}
        path = find_resumable_checkpoint(tmp_path / 'stopped')
        assert Path(path).name == f'iter_{first}.pth'
        whole = changes | {'randomness.seed': load(path)['meta']['seed']}
        assert train('stopped', {**changes, 'load_from': path, 'resume': True}) == 0
        if str(whole) not in whole_runs:
            assert train('whole', whole) == 0
            whole_runs[str(whole)] = _read('whole')
        (expected_losses, expected_weights), (losses, weights) = whole_runs[str(whole)], _read('stopped')
        assert sorted(losses) == sorted(expected_losses) == list(range(6))
        for iteration, expected in expected_losses.items():
            assert losses[iteration] == pytest.approx(expected, rel=1e-6, abs=1e-6), iteration
        assert all(torch.equal(weights[name], tensor) for name, tensor in expected_weights.items())
        assert files(tmp_path / 'stopped') == ['iter_6.pth']

    return _check


def files(work_dir: Path) -> list[str]:
    return sorted(path.name for path in work_dir.glob('*.pth*'))


def test_killed_in_an_iteration(train, check) -> None:
    """With workers, whose random numbers are lost with them, a seed by chance, and gradients accumulated."""
    changes = {
        'randomness.seed': None,
        'train_dataloader.num_workers': 2,
        'optim_wrapper.accumulative_counts': 2,
    }
    assert train('stopped', changes, hooks=(KillInIteration(3),)) == -signal.SIGKILL
    check(first=2, changes=changes)


def test_killed_while_a_checkpoint_is_written(train, check, tmp_path: Path) -> None:
    """Only one checkpoint is kept, and it is not removed before the next is complete."""
    assert train('stopped', hooks=(KillInWriting(),)) == -signal.SIGKILL
    assert files(tmp_path / 'stopped') == ['iter_2.pth', 'iter_4.pth.partial']
    check(first=2)


@pytest.mark.parametrize('iteration', [2, 6])
def test_killed_in_a_validation(train, check, evaluated, read_metrics, tmp_path: Path, iteration: int) -> None:
    """The first one or the last, after which there is nothing to train: it is made up for, and no other twice."""
    changes = evaluated(**{'visualizer.name': f'killed at {iteration}'})
    assert train('stopped', changes, hooks=(KillInValidation(iteration),)) == -signal.SIGKILL
    check(first=iteration, changes=changes)
    assert read_metrics('stopped') == read_metrics('whole')
    assert [step for step, _ in read_metrics('stopped')] == [2, 4, 6]


def test_sigterm_saves_before_the_end(train, check) -> None:
    assert train('stopped', hooks=(Terminate(),)) == SIGTERM_STATUS
    check(first=3)


@pytest.mark.parametrize(('where', 'first'), [('model', 3), ('hook', 4)])
def test_an_error_in_an_iteration(train, check, where: str, first: int) -> None:
    """The last complete iteration is saved: exactly, though the forward pass that failed has seen the norms."""
    assert train('stopped', hooks=(Fail(where),)) == 1
    check(first=first)


def test_full_disk(train, tmp_path: Path) -> None:
    """The run goes on with the last checkpoint kept, and does not end as if all were well."""
    assert train('stopped', hooks=(FillDisk(),)) == 1
    assert files(tmp_path / 'stopped') == ['iter_2.pth']
    message = (tmp_path / 'stopped.txt').read_text().splitlines()[-1]
    assert 'File too large' in message and 'iter_2.pth' in message and '--resume' in message
    assert find_resumable_checkpoint(tmp_path / 'stopped') == str(tmp_path / 'stopped' / 'iter_2.pth')
