"""Measuring models: time, memory, floating-point operations; operations and waits with the counter of the selftest."""

from .flops import count_flops
from .stopwatch import Stopwatch

__all__ = ['Stopwatch', 'count_flops']
