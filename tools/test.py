"""Evaluate a checkpoint: python tools/test.py CONFIG CHECKPOINT [options], the same as `mmmaskdino test`. Several
processes: tools/dist_test.sh.
"""

import sys

from mmmaskdino.cli.main import run_command

if __name__ == '__main__':
    sys.exit(run_command('test'))
