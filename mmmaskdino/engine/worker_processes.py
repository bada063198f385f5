"""Processes that load data live exactly as long as the run that they load for."""

import multiprocessing
import multiprocessing.queues
import os
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from multiprocessing.sharedctypes import RawValue
from multiprocessing.util import Finalize
from typing import Any

from torch.multiprocessing import _prctl_pr_set_pdeathsig
from torch.utils.data import DataLoader

# Launchers, clusters and terminals send them to whole groups; some are not on Windows.
_SENT_TO_GROUPS = ('SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2')
_SECONDS_TO_END = 3.0


def guard_workers(loader: DataLoader) -> None:
    """Leave the life of a loader's workers to this process alone: signals do not end them, its end does.

    Args:
        loader: Its workers are not started yet; they may be guarded already.
    """
    if isinstance(loader.worker_init_fn, _WorkerStart):
        return
    loader.worker_init_fn = _WorkerStart(loader.worker_init_fn)
    _STARTS.add(loader.worker_init_fn)
    # Python ends daemonic processes by SIGTERM and then waits for them without limit; this comes before.
    Finalize(None, end_workers, exitpriority=100)


def end_workers(seconds: float = _SECONDS_TO_END) -> None:
    """End all daemonic child processes now, whatever they do and whoever still holds their loaders.

    Args:
        seconds: Until those are killed that do not end by themselves; a worker that does removes its temporary folder.
    """
    workers = [process for process in multiprocessing.active_children() if process.daemon]
    if not workers:
        return
    for start in _STARTS:
        start.is_over.value = 1
    with _NoReportOfDeaths():
        end = time.monotonic() + seconds
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join(max(0.0, end - time.monotonic()))
        for worker in workers:
            worker.kill()
            worker.join(1.0)
    for start in _STARTS:
        start.is_over.value = 0


class _WorkerStart:
    """The first thing that a worker does."""

    def __init__(self, worker_init_fn: Callable[[int], None] | None) -> None:
        self.worker_init_fn = worker_init_fn
        self.is_over = RawValue('b', 0)  # written by the main process, read by the workers

    def __call__(self, worker_id: int) -> None:
        for name in _SENT_TO_GROUPS:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._end_if_over)
        signal.set_wakeup_fd(-1)  # that of the main process tells it of its own signals
        if hasattr(signal, 'SIGKILL'):  # not on Windows
            _prctl_pr_set_pdeathsig(signal.SIGKILL)
        multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end_worker)
        if self.worker_init_fn is not None:
            self.worker_init_fn(worker_id)

    def _end_if_over(self, number: int, frame: Any) -> None:
        if self.is_over.value:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise SystemExit(0)


def _end_worker(error: Exception, batch: Any) -> None:
    """End a worker that cannot hand on what it has loaded; Python would go on, and the main process wait for ever."""
    traceback.print_exception(type(error), error, error.__traceback__)
    os._exit(1)


_STARTS: 'weakref.WeakSet[_WorkerStart]' = weakref.WeakSet()


class _NoReportOfDeaths:
    """Torch raises an error, wherever the main thread is, when a worker is killed."""

    def __enter__(self) -> None:
        self._previous = None
        if hasattr(signal, 'SIGCHLD') and threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def __exit__(self, *args: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGCHLD, self._previous)
