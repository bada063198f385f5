"""Peak memory of a model: on the CPU of a process of its own (Linux), on a GPU of torch's allocator."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .models import Case, Subject, build_model


class PeakMemory(NamedTuple):
    """In MiB."""

    model: float
    """Once the model is built."""
    peak: float
    """The most while it ran."""


def peak_memory(name: str, options: Mapping[str, Any], case: Case, device: str, threads: int) -> PeakMemory:
    """Run a case twice in a fresh process.

    Args:
        name (str): As of :func:`build_model`.
        options (Mapping): As of :func:`build_model`.
        case (Case): What to run.
        device (str): ``cpu`` or a GPU.
        threads (int): Threads of torch.

    Raises:
        RuntimeError: With the end of its messages, if the process fails.
    """
    task = json.dumps([name, dict(options), case, device, threads])
    tools = str(Path(__file__).parents[1])  # which only the program that is run by its path has on sys.path
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, [tools, os.environ.get('PYTHONPATH')]))}
    command = [sys.executable, '-m', __name__, task]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f'measuring the memory of {name} failed:\n{done.stderr[-2000:]}')
    return PeakMemory(*json.loads(done.stdout.splitlines()[-1]))


def _measure(name: str, options: dict, case: list, device: str, threads: int) -> PeakMemory:
    torch.set_num_threads(threads)
    training, size, *rest = case
    subject = Subject(build_model(name, options, device), device)
    built = _most(device)
    for _ in range(2):
        subject.run(Case(training, tuple(size), *rest))
    return PeakMemory(built, _most(device))


def _most(device: str) -> float:
    if device != 'cpu':
        return torch.cuda.max_memory_allocated(device) / 2**20
    # Not getrusage: that remembers the process which started this one.
    status = Path('/proc/self/status').read_text()
    return int(re.search(r'VmHWM:\s+(\d+) kB', status)[1]) / 1024


if __name__ == '__main__':
    print(json.dumps(_measure(*json.loads(sys.argv[1]))))
