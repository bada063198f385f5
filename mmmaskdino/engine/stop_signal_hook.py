"""Saving a checkpoint when the run is asked to end."""

import signal
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import distributed

from mmmaskdino.engine.resumable_checkpoint_hook import ResumableCheckpointHook


@HOOKS.register_module()  # of mmengine, so that mmdet and mmseg find it
class StopSignalHook(Hook):
    """Saves a checkpoint and ends the run when one of its processes gets a signal.

    Clusters send SIGTERM before they kill a job; the exit status is 128 + the number of the signal, as in a shell. The
    iteration under way is finished first, with gradient accumulation the step. Further signals change nothing, since
    launchers pass on what the cluster sends to all. Needs :class:`ResumableCheckpointHook` and a loop by iterations.

    Args:
        signals (Sequence[str]): Names of the signals; with Slurm's ``--signal=USR1@120`` also SIGUSR1.
    """

    priority = 'LOWEST'  # after the checkpoint hook, which may have saved this very iteration

    def __init__(self, signals: Sequence[str] = ('SIGTERM',)) -> None:
        self.signals = [signal.Signals[name] for name in signals]
        self._received = 0
        self._previous: dict[int, Any] = {}
        self._group = None

    def before_train(self, runner: Runner) -> None:
        """Begin to listen.

        Args:
            runner: The runner.
        """
        if not isinstance(runner.train_loop, IterBasedTrainLoop) or self._checkpoint_hook(runner) is None:
            runner.logger.warning(
                'StopSignalHook saves nothing: it expects a train_cfg by iterations (type=ResumableTrainLoop) and '
                'default_hooks.checkpoint.type=ResumableCheckpointHook'
            )
            return
        if get_world_size() > 1 and distributed.get_backend() != 'gloo':
            # The processes agree on the host, so that no device has to be waited for.
            self._group = distributed.new_group(backend='gloo')
        self._previous = {number: signal.signal(number, self._receive) for number in self.signals}

    def _receive(self, number: int, frame: Any) -> None:
        self._received = number

    def _stop_listening(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Save and end the run if any process got a signal.

        Args:
            runner: The runner.
            args: Not used, nor are the others.
            kwargs: Not used.

        Raises:
            SystemExit: The checkpoint was saved.
        """
        if self._previous and runner.optim_wrapper.should_update() and (number := self._agree()):
            self._save_and_exit(runner, runner.iter + 1, number)

    def after_val_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Save and end the run in the middle of a validation; see :meth:`after_train_iter`.

        Processes may have different numbers of batches, so they cannot agree here: in a run of several, the validation
        is finished first.
        """
        if self._received and get_world_size() == 1:
            self._save_and_exit(runner, runner.iter, self._received)

    def after_train(self, runner: Runner) -> None:
        """Leave the signals to those who had them before.

        Args:
            runner: The runner.
        """
        self._stop_listening()

    def _agree(self) -> int:
        """The signal that any process got, the same in all of them; 0 for none."""
        if get_world_size() == 1:
            return self._received
        number = torch.tensor(self._received)
        distributed.all_reduce(number, distributed.ReduceOp.MAX, group=self._group)
        return int(number)

    def _save_and_exit(self, runner: Runner, iteration: int, number: int) -> None:
        name = signal.Signals(number).name
        runner.logger.warning(f'{name} received: saving iteration {iteration}, then the run ends; --resume goes on')
        hook = self._checkpoint_hook(runner)
        if hook.last_ckpt is None or not hook.last_ckpt.endswith(hook.filename_tmpl.format(iteration)):
            hook.save(runner, iteration)
        self._stop_listening()
        raise SystemExit(128 + number)

    @staticmethod
    def _checkpoint_hook(runner: Runner) -> ResumableCheckpointHook | None:
        hooks = (hook for hook in runner.hooks if isinstance(hook, ResumableCheckpointHook))
        return next((hook for hook in hooks if not hook.by_epoch), None)
