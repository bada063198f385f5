"""Data of which each batch depends on its number alone, loaded by processes that live as long as their run."""

import gc
import itertools
import multiprocessing
import multiprocessing.queues
import os
import random
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from multiprocessing.sharedctypes import RawValue
from multiprocessing.util import Finalize
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

# Launchers, clusters and terminals send them to whole groups; some are not on Windows.
_SENT_TO_GROUPS = ('SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2')
_SECONDS_TO_END = 3.0


def seed_all(*key: int) -> None:
    """Seed Python, numpy and torch, on all devices, without waiting for any.

    Args:
        key: Non-negative numbers, for instance seed, rank and iteration. Keys that differ give unrelated numbers.
    """
    # Neighbouring keys must not give neighbouring states, which numpy's SeedSequence is made for.
    for_python, for_numpy, for_torch = np.random.SeedSequence(key).generate_state(3).tolist()
    random.seed(for_python)
    np.random.seed(for_numpy)
    torch.manual_seed(for_torch)


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
    _leave_loaders()
    for start in _STARTS:
        start.is_over.value = 0


def _leave_loaders() -> None:
    """Let torch tidy up for the workers that have ended, while what it closes is whole.

    Left to the garbage collector, it would give workers that never had a batch a first message, by a thread that then
    finds its pipe closed: tracebacks after a run that succeeded.
    """
    for loading in [x for x in gc.get_objects() if type(x) is _MultiProcessingDataLoaderIter]:
        if not any(worker.is_alive() for worker in loading._workers):
            loading._shutdown_workers()


class _WorkerStart:
    """The first thing that a worker does."""

    def __init__(self, worker_init_fn: Callable[[int], None] | None) -> None:
        self.worker_init_fn = worker_init_fn
        self.is_over = RawValue('b', 0)  # written by the main process, read by the workers
        self._is_ending = False

    def __call__(self, worker_id: int) -> None:
        for name in _SENT_TO_GROUPS:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._end_if_over)
        signal.set_wakeup_fd(-1)  # that of the main process tells it of its own signals
        if hasattr(signal, 'SIGKILL'):  # not on Windows
            from torch.multiprocessing import _prctl_pr_set_pdeathsig

            _prctl_pr_set_pdeathsig(signal.SIGKILL)
        multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(self._end_worker)
        if self.worker_init_fn is not None:
            self.worker_init_fn(worker_id)

    def _end_if_over(self, number: int, frame: Any) -> None:
        if self.is_over.value:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            # The thread that hands on batches may still be writing to a pipe that is closed before it.
            self._is_ending = True
            threading.excepthook = lambda error: None
            raise SystemExit(0)

    def _end_worker(self, error: Exception, batch: Any) -> None:
        """End one that cannot hand on what it has loaded; Python would go on, and the main process wait for ever."""
        if self._is_ending:
            raise SystemExit  # of this thread, for which the end of the process waits
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


class SeededIndex(NamedTuple):
    """An index of a dataset and the key of the random numbers with which its sample is augmented."""

    index: int
    key: tuple[int, ...]


class SeededDataset(Dataset):
    """A dataset that seeds all random numbers before each sample; everything else of it is as before.

    Args:
        dataset (Dataset): The dataset.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, seeded: SeededIndex) -> Any:
        seed_all(*seeded.key)
        return self.dataset[seeded.index]

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset':  # not there yet while a worker process unpickles this
            raise AttributeError(name)
        return getattr(self.dataset, name)


class SeededBatches:
    """The batches of a sampler without end, from any one on, each sample with a key of its own.

    Args:
        batch_sampler (BatchSampler): Gives batches of indices.
    """

    def __init__(self, batch_sampler: BatchSampler) -> None:
        self.batch_sampler = batch_sampler
        # Where mmengine's hooks and its FlexibleRunner look for them.
        self.sampler = getattr(batch_sampler, 'sampler', None)
        self.batch_size = getattr(batch_sampler, 'batch_size', None)
        self._key: tuple[int, ...] = ()
        self._first = 0

    def start(self, first: int, *key: int) -> None:
        """Set where iterating begins.

        Args:
            first: Number of the first batch.
            key: Key of the run and the process, which becomes a part of each sample's.
        """
        self._first, self._key = first, key

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        # Asking a sampler for the indices of batches is cheap, and right for samplers of every kind.
        for number, batch in itertools.islice(enumerate(self._endless()), self._first, None):
            yield [SeededIndex(index, (*self._key, number, place)) for place, index in enumerate(batch)]

    def _endless(self) -> Iterator[list[int]]:
        for epoch in itertools.count():
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            is_empty = True
            for batch in self.batch_sampler:
                is_empty = False
                yield batch
            if is_empty:
                raise ValueError(
                    'the sampler of train_dataloader gives no batch: fewer images than batch_size, and drop_last=True'
                )


class SeededLoader(DataLoader):
    """A data loader whose batches depend on their number alone. It starts no worker before the first is asked for.

    Args:
        loader (DataLoader): Has the dataset, the sampler and all settings.

    Raises:
        ValueError: The loader does not make batches.
    """

    def __init__(self, loader: DataLoader) -> None:
        if loader.batch_sampler is None:
            raise ValueError('train_dataloader makes no batches: expected a batch_size or a batch_sampler, got neither')
        super().__init__(
            SeededDataset(loader.dataset),
            batch_sampler=SeededBatches(loader.batch_sampler),
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            pin_memory_device=loader.pin_memory_device,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=loader.generator,
            prefetch_factor=loader.prefetch_factor,
        )
        guard_workers(self)

    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
