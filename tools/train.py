"""Train a model: python tools/train.py CONFIG [options], the same as `mmmaskdino train`. Several processes:
tools/dist_train.sh.
"""

import sys

from mmmaskdino.cli.main import run_command

if __name__ == '__main__':
    sys.exit(run_command('train'))
