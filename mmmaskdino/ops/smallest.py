"""The smallest magnitudes of each row.

==================  ===============================================
device              implementation
==================  ===============================================
CPU                 NumPy's partition, some rows per thread
every other device  ``topk``
==================  ===============================================
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .device import is_host

# Rows that a thread takes at a time: few enough for its cache.
ROWS = 4


def smallest(values: Tensor, num: int) -> Tensor:
    """Columns of the ``num`` values that are nearest to 0, row by row, in any order.

    Args:
        values (Tensor): (num_rows, num_columns) float32 without gradient.
        num (int): At most ``num_columns``.

    Returns:
        Tensor: (num_rows, num) int64.
    """
    if is_host(values):
        return torch.from_numpy(_on_host(values.numpy(), num))
    return values.abs().topk(num, dim=1, largest=False, sorted=False).indices


def _on_host(values: np.ndarray, num: int) -> np.ndarray:
    """Several times faster: NumPy partitions with vector instructions, and lets other threads run."""
    chosen = np.empty((len(values), num), np.int64)

    def choose(start: int) -> None:
        rows = slice(start, start + ROWS)
        chosen[rows] = _smallest(np.abs(values[rows]), num)

    if num:
        list(_threads(torch.get_num_threads()).map(choose, range(0, len(values), ROWS)))
    return chosen


def _smallest(values: np.ndarray, num: int) -> np.ndarray:
    """(rows, num) int64 columns of the smallest values of each row (rows, columns), in any order.

    In rising order, unless values are equal or not numbers; then what reads them reads memory in order.
    """
    limit = np.partition(values, num - 1, axis=1)[:, num - 1 : num]
    small = values <= limit
    if (np.count_nonzero(small, axis=1) != num).any():
        return np.argpartition(values, num - 1, axis=1)[:, :num]
    return np.flatnonzero(small).reshape(-1, num) - np.arange(0, values.size, values.shape[1])[:, None]


@lru_cache(maxsize=1)
def _threads(num: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num, thread_name_prefix='smallest')


if hasattr(os, 'register_at_fork'):  # a forked process has none of the threads and would wait for them
    os.register_at_fork(after_in_child=_threads.cache_clear)
