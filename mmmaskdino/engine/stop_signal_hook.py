"""Saving a checkpoint when the run is asked to end."""

import os
import signal
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import distributed

from mmmaskdino.engine.resumable_checkpoint_hook import ResumableCheckpointHook
from mmmaskdino.engine.safety_hook import SafetyHook
from mmmaskdino.engine.stop_signals import DEFAULT_SIGNALS, GRACE, StopSignals
from mmmaskdino.engine.worker_processes import guard_workers


@HOOKS.register_module()  # of mmengine, so that mmdet and mmseg find it
class StopSignalHook(SafetyHook):
    """Saves a checkpoint and ends the run when one of its processes gets a signal.

    Clusters send SIGTERM before they kill a job, a closed terminal sends SIGHUP, Ctrl-C SIGINT; the exit status is
    128 + the number of the signal, as in a shell. An iteration under way is finished first, with gradient accumulation
    the step; a validation is left at once. Further signals change nothing, since launchers pass on what the cluster
    sends to all, but for a second Ctrl-C. Workers that load data leave the signals to the process that they work for.
    Needs :class:`ResumableCheckpointHook` and a loop by iterations.

    Args:
        signals (Sequence[str]): Names of the signals; with Slurm's ``--signal=USR1@120`` also SIGUSR1.
        grace (float | None): Seconds after the signal until the process is ended by force, with the checkpoint saved or
            not; None for no limit.

    Raises:
        ValueError: A signal is not known.
    """

    priority = 'LOWEST'  # after the checkpoint hook, which may have saved this very iteration

    def __init__(self, signals: Sequence[str] = DEFAULT_SIGNALS, grace: float | None = GRACE) -> None:
        unknown = [name for name in signals if not hasattr(signal, name)]
        if unknown and os.name != 'nt':  # which has few, not even all of the default
            raise ValueError(f'StopSignalHook: signals must be names such as SIGTERM and SIGUSR1, got {unknown}')
        self.signals, self.grace = signals, grace
        self._listener = StopSignals(())
        self._group = None

    @property
    def received(self) -> int:
        """Number of the signal that this process got in the training that is under way; 0 for none."""
        return self._listener.received if self._listener.is_listening else 0

    def before_train(self, runner: Runner) -> None:
        """Begin to listen.

        Args:
            runner: The runner.
        """
        loop = runner.train_loop
        guard_workers(loop.dataloader)
        if not isinstance(loop, IterBasedTrainLoop) or find_checkpoint_hook(runner) is None:
            runner.logger.warning(
                'StopSignalHook saves nothing: it expects a train_cfg by iterations (type=ResumableTrainLoop) and '
                'default_hooks.checkpoint.type=ResumableCheckpointHook'
            )
            return
        if get_world_size() > 1 and distributed.get_backend() != 'gloo':
            # The processes agree on the CPU, so that no device has to be waited for.
            self._group = distributed.new_group(backend='gloo')

        def leave_if_possible(number: int) -> None:
            if getattr(loop, 'can_be_left', False):
                self._listener.leave()

        self._listener = StopSignals(self.signals, leave_if_possible, self.grace)
        self._listener.start()

    def before_val(self, runner: Runner) -> None:
        """Guard the workers of the validation.

        Args:
            runner: The runner.
        """
        guard_workers(runner.val_dataloader)

    def before_test(self, runner: Runner) -> None:
        """Guard the workers of the test.

        Args:
            runner: The runner.
        """
        guard_workers(runner.test_dataloader)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Save and end the run if any process got a signal.

        Args:
            runner: The runner.
            args: Not used, nor are the others.
            kwargs: Not used.

        Raises:
            SystemExit: The checkpoint was saved.
            KeyboardInterrupt: The same, after Ctrl-C.
        """
        if self._listener.is_listening and runner.optim_wrapper.should_update() and (number := self._agree()):
            self._listener.received = number
            self._save_and_leave(runner, runner.iter + 1)

    def after_val_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Leave a validation that could not be left where the signal came; see :meth:`after_train_iter`.

        Processes may have different numbers of batches, so they cannot agree here. Where each has a share of the
        weights, and where the training loop is mmengine's, which saves nothing when it is left, the validation is
        finished first.
        """
        if self.received and hasattr(runner.train_loop, 'can_be_left') and not hasattr(runner, 'strategy'):
            self.leave()

    def after_train(self, runner: Runner) -> None:
        """Leave the signals to those who had them before.

        Args:
            runner: The runner.
        """
        self.stop_listening()

    def stop_listening(self) -> None:
        """Leave the signals to those who had them before; for when a training ends by an error."""
        self._listener.stop()

    def leave(self) -> None:
        """Raise what ends the process as the signal asks that this one got."""
        self._listener.leave()

    def _agree(self) -> int:
        """The signal that any process got, the same in all of them; 0 for none."""
        if get_world_size() == 1:
            return self._listener.received
        number = torch.tensor(self._listener.received)
        distributed.all_reduce(number, distributed.ReduceOp.MAX, group=self._group)
        return int(number)

    def _save_and_leave(self, runner: Runner, iteration: int) -> None:
        name = signal.Signals(self._listener.received).name
        runner.logger.warning(f'{name} received: saving iteration {iteration}, then the run ends; --resume goes on')
        find_checkpoint_hook(runner).save(runner, iteration)
        self.stop_listening()
        self.leave()


def find_checkpoint_hook(runner: Runner) -> ResumableCheckpointHook | None:
    """The hook of a run that can save any iteration of it.

    Args:
        runner: The runner.
    """
    hooks = (hook for hook in runner.hooks if isinstance(hook, ResumableCheckpointHook))
    return next((hook for hook in hooks if not hook.by_epoch), None)
