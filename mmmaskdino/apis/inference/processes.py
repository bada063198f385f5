"""Several processes that share out the images of one command, started by torchrun or Slurm."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from mmengine.dist import broadcast_object_list, get_dist_info

from mmmaskdino.apis.launch import process_group

T = TypeVar('T')
# One process may have much less to do than another, and waits for it. One that has died is noticed at once.
_TIMEOUT = datetime.timedelta(days=30)
_SLURM_PORT = 20000


def launched_processes(environment: Mapping[str, str]) -> dict[str, str]:
    """What torch has to know to join the processes of a launcher; empty for a process that is alone.

    Args:
        environment: With the variables of torchrun, or those of a step of Slurm.

    Returns:
        RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT.
    """
    if int(environment.get('WORLD_SIZE', 1)) > 1 and 'RANK' in environment:
        return {name: environment[name] for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')}
    # Of the step, not of the job: a shell in a job of several tasks is alone.
    if int(environment.get('SLURM_STEP_NUM_TASKS', 1)) > 1 and 'SLURM_PROCID' in environment:
        port = _SLURM_PORT + int(environment.get('SLURM_JOB_ID', 0)) % 20000
        return dict(
            RANK=environment['SLURM_PROCID'],
            WORLD_SIZE=environment['SLURM_STEP_NUM_TASKS'],
            LOCAL_RANK=environment.get('SLURM_LOCALID', '0'),
            MASTER_ADDR=environment.get('MASTER_ADDR') or _first_node(environment['SLURM_STEP_NODELIST']),
            MASTER_PORT=environment.get('MASTER_PORT', str(port)),
        )
    return {}


def _first_node(nodes: str) -> str:
    """Of a list such as `node[01-04]`.

    Raises:
        ValueError: Slurm's own command cannot say it.
    """
    try:
        found = subprocess.run(['scontrol', 'show', 'hostname', nodes], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(
            f'scontrol cannot name the nodes {nodes} ({error}); set MASTER_ADDR to the first one'
        ) from error
    return found.stdout.split()[0]


@contextmanager
def joined_processes() -> Iterator[int | None]:
    """Join the processes that a launcher has started with this one, if it has, and leave them at the end.

    They talk through gloo, which needs no GPU: only names of images and reports are exchanged.

    Yields:
        int | None: Number of this process on its machine; None for one that is alone.

    Raises:
        RuntimeError: Another process has ended.
    """
    variables = launched_processes(os.environ)
    if not variables:
        yield None
        return
    os.environ.update(variables)
    torch.distributed.init_process_group('gloo', timeout=_TIMEOUT)
    with process_group():
        yield int(variables['LOCAL_RANK'])


def on_first(function: Callable[[], T]) -> T:
    """Do something in the first process alone, and give all what it returns.

    Raises:
        Exception: What the function raises.
        SystemExit: In the other processes, when it raises: it is said once.
    """
    rank, _ = get_dist_info()
    answer: list = [None, False]
    error = None
    if rank == 0:
        try:
            answer = [function(), True]
        except Exception as raised:
            error = raised
    broadcast_object_list(answer)
    if error is not None:
        raise error
    if not answer[1]:
        sys.exit(1)
    return answer[0]


def on_all(value: T) -> list[T]:
    """The values of all processes."""
    _, size = get_dist_info()
    if size == 1:
        return [value]
    values: list = [None] * size
    torch.distributed.all_gather_object(values, value)
    return values


def is_first() -> bool:
    """Whether this is the first process, which speaks for all."""
    return get_dist_info()[0] == 0
