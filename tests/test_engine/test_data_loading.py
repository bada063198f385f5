"""Processes that load data live as long as their run."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mmmaskdino.engine.data_loading import end_workers, guard_workers

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class Slow(Dataset):
    """Samples, some of which are never ready, and make the worker deaf."""

    def __init__(self, num_ready: int) -> None:
        self.num_ready = num_ready
        self.is_stuck = multiprocessing.Event()

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> torch.Tensor:
        if index >= self.num_ready:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self.is_stuck.set()
            time.sleep(600)
        return torch.tensor(index)


@pytest.mark.parametrize('persistent', [False, True])
def test_signals_do_not_end_workers_but_the_end_of_the_run_does(persistent: bool) -> None:
    others = multiprocessing.active_children()
    loader = DataLoader(Slow(100), num_workers=2, persistent_workers=persistent)
    guard_workers(loader)
    guard_workers(loader)
    batches = iter(loader)
    _ = next(batches), next(batches)  # one of each worker
    workers = [process for process in multiprocessing.active_children() if process not in others]
    for number in SIGNALS:
        for worker in workers:
            os.kill(worker.pid, number)
    assert len([next(batches) for _ in range(20)]) == 20
    end_workers(seconds=60)  # and torch's error about workers that are killed is not raised
    assert [worker.exitcode for worker in workers] == [0, 0]


def test_a_worker_that_does_not_end_is_killed() -> None:
    others = multiprocessing.active_children()
    data = Slow(1)
    loader = DataLoader(data, num_workers=1)
    guard_workers(loader)
    batches = iter(loader)
    next(batches)
    data.is_stuck.wait()
    (worker,) = [process for process in multiprocessing.active_children() if process not in others]
    end_workers(0.3)
    assert worker.exitcode == -signal.SIGKILL


def test_workers_that_never_had_a_batch_end_without_a_word(capfd: pytest.CaptureFixture) -> None:
    """Also where the loading is part of a cycle, which the garbage collector takes apart in any order."""
    for _ in range(10):
        loader = DataLoader(Slow(100), num_workers=3, batch_sampler=[[0]], persistent_workers=True)
        guard_workers(loader)
        batches = iter(loader)
        batches.cycle = batches
        next(batches)
        end_workers(60)
        del loader, batches
        gc.collect()
    for thread in threading.enumerate():
        if thread.name == 'QueueFeederThread':
            thread.join(10)
    assert capfd.readouterr().err == ''


def test_the_loaders_own_start_comes_too() -> None:
    def start(worker_id: int) -> None:
        Slow.__len__ = lambda self: 1000 + worker_id

    loader = DataLoader(Slow(100), num_workers=1, worker_init_fn=start, collate_fn=lambda batch: len(Slow(1)))
    guard_workers(loader)
    assert next(iter(loader)) == 1000
    end_workers()
