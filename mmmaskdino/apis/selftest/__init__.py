"""What `mmmaskdino doctor --selftest` runs on the user's device; the counter of waits serves tests and tools, too."""

from .checks import CHECKS, Row, describe_device, run_checks, usable_device
from .counters import OperationCounter
from .samples import make_batch

__all__ = ['CHECKS', 'OperationCounter', 'Row', 'describe_device', 'make_batch', 'run_checks', 'usable_device']
