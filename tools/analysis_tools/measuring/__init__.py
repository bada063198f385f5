"""Measuring models: time, memory, operations, waits of the CPU, floating-point operations."""

from .counters import OperationCounter
from .flops import count_flops
from .samples import make_batch
from .stopwatch import Stopwatch

__all__ = ['OperationCounter', 'Stopwatch', 'count_flops', 'make_batch']
