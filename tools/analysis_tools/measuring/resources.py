"""What a training holds while it runs: memory, files, threads, processes. Linux only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.hooks import Hook
from mmengine.runner import Runner

_PROC = Path('/proc')


class Resources(NamedTuple):
    """A look at the process and its children."""

    iteration: int
    memory: float
    """MiB of the process that are in memory."""
    workers_memory: float
    """The same of its children, where what they share with it counts too."""
    open_files: int
    threads: int
    children: int
    temporary_files: int
    """Entries of the system's folder for them, also of others."""


class ResourceHook(Hook):
    """Looks at the resources of a training every some iterations.

    Args:
        interval: Iterations between two looks.
    """

    priority = 'LOWEST'

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.looks: list[Resources] = []

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Look, if it is time to.

        Args:
            runner: The runner.
            args: Not used, nor are the others.
            kwargs: Not used.
        """
        if self.every_n_train_iters(runner, self.interval):
            self.looks.append(look(runner.iter + 1))


def look(iteration: int = 0) -> Resources:
    """Look at this process and its children."""
    children = [pid for task in _entries('self/task') for pid in _read(f'self/task/{task}/children').split()]
    return Resources(
        iteration=iteration,
        memory=_memory('self'),
        workers_memory=sum(map(_memory, children)),
        open_files=len(_entries('self/fd')),
        threads=len(_entries('self/task')),
        children=len(children),
        temporary_files=len(os.listdir(tempfile.gettempdir())),
    )


def find_leaks(looks: Sequence[Resources], warm_up: int, max_growth: float = 0.02) -> list[str]:
    """What grew from the end of the warm-up to the end of the run.

    All goes up and down a little: batches are files for a moment. The second half after the warm-up is compared with
    the first, of memory the means and of the others the largest numbers.

    Args:
        looks: In their order.
        warm_up: Iterations that do not count.
        max_growth: Share by which memory may grow.

    Returns:
        A line per leak.

    Raises:
        ValueError: There are fewer than four looks after the warm-up.
    """
    looks = [entry for entry in looks if entry.iteration > warm_up]
    if len(looks) < 4:
        raise ValueError(f'expected at least 4 looks after the warm-up of {warm_up} iterations, got {len(looks)}')
    parts = looks[: len(looks) // 2], looks[len(looks) // 2 :]
    leaks = []
    for name in ('memory', 'workers_memory'):
        before, after = (_mean(part, name) for part in parts)
        if after > before * (1 + max_growth):
            leaks.append(f'{name} grew from {before:.1f} to {after:.1f} MiB, {after / before - 1:.1%}')
    for name in ('open_files', 'threads', 'children'):
        before, after = (max(getattr(entry, name) for entry in part) for part in parts)
        if after > before:
            leaks.append(f'{name} grew from {before} to {after}')
    return leaks


def _mean(looks: Sequence[Resources], name: str) -> float:
    return sum(getattr(entry, name) for entry in looks) / len(looks)


def _memory(pid: str) -> float:
    lines = [line for line in _read(f'{pid}/status').splitlines() if line.startswith('VmRSS')]
    return int(lines[0].split()[1]) / 1024 if lines else 0.0


def _read(path: str) -> str:
    try:
        return (_PROC / path).read_text()
    except (FileNotFoundError, ProcessLookupError):  # a process that has just ended
        return ''


def _entries(path: str) -> list[str]:
    return os.listdir(_PROC / path)
