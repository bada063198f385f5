"""Signals that ask a run to end: a checkpoint is saved, and the process ends for certain."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import torch
from mmengine.dist import get_world_size
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import distributed

from mmmaskdino.engine.checkpoints import ResumableCheckpointHook
from mmmaskdino.engine.data_loading import end_workers, guard_workers
from mmmaskdino.engine.faults import SafetyHook

DEFAULT_SIGNALS = ('SIGTERM', 'SIGINT', 'SIGHUP')
GRACE = 25.0  # seconds; launchers and clusters kill after 30
_AGAIN = 1.0  # seconds; a SIGINT sooner is the same one, which came to the group and to the process
_STOPPED = b'\0'  # no signal has this number


class StopSignals:
    """Listens to the signals that ask this process to end; only the first counts, but a second Ctrl-C ends at once.

    Signals that are ignored when listening begins stay ignored, as `nohup` wants it.

    Args:
        names: Of the signals; those that the system does not have are left out.
        on_first: Called in the main thread with the number of the first signal. It may raise.
        grace: Seconds after a signal until the process is ended in any case, also where Python code cannot react
            because it waits for another process; None for no limit.
    """

    def __init__(
        self, names: Sequence[str], on_first: Callable[[int], None] = lambda number: None, grace: float | None = GRACE
    ) -> None:
        self.numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        self.on_first = on_first
        self.grace = grace
        self.received = 0
        self._since = 0.0
        self._previous: dict[int, Any] = {}
        self._previous_fd = -1
        self._writer: int | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to listen; nothing outside the main thread, where Python allows no handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        heard = [number for number in self.numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]
        self._previous = {number: signal.signal(number, self._receive) for number in heard}
        if heard and self.grace is not None:
            reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            # Written to as soon as a signal arrives, while handlers wait until the main thread runs Python code.
            self._previous_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(reader, self.grace), daemon=True).start()

    def stop(self) -> None:
        """Leave the signals to those who had them before, and the process its time to end."""
        self._stopped.set()
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
        if self._writer is not None:
            signal.set_wakeup_fd(self._previous_fd)
            with suppress(BrokenPipeError):  # the thread has ended after a signal
                os.write(self._writer, _STOPPED)  # workers have the pipe open, too, so closing it is not enough
            os.close(self._writer)
            self._writer = None

    @property
    def is_listening(self) -> bool:
        """Whether any signal is listened to."""
        return bool(self._previous)

    def leave(self) -> NoReturn:
        """Raise what ends the process as the signal asks: with the status 128 + its number, as in a shell."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.received)

    def _receive(self, number: int, frame: Any) -> None:
        if not self.received:
            self.received, self._since = number, time.monotonic()
            self.on_first(number)
        elif number == signal.SIGINT and time.monotonic() - self._since > _AGAIN:
            raise KeyboardInterrupt

    def _watch(self, reader: int, grace: float) -> None:
        number = 0
        while number not in self.numbers:
            number = os.read(reader, 1)[0]
            if number == _STOPPED[0]:
                break
        else:
            name = signal.Signals(number).name
            _end_unless(self._stopped, grace, 128 + number, f'not ended {grace:g} s after {name}: ended by force')
        os.close(reader)


@contextmanager
def within(seconds: float, status: int) -> Iterator[None]:
    """End the process with `status` if the work inside, which cleans up, takes longer than some seconds."""
    done = threading.Event()
    threading.Thread(target=_end_unless, args=(done, seconds, status), daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _end_unless(done: threading.Event, seconds: float, status: int, message: str = '') -> None:
    if done.wait(seconds):
        return
    if message:
        print(message, file=sys.stderr, flush=True)
    end_workers(1.0)
    os._exit(status)


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
