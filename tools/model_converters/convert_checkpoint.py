"""Convert weights: python tools/model_converters/convert_checkpoint.py SOURCE TARGET --config CONFIG, the same as
`mmmaskdino convert`.
"""

import sys

from mmmaskdino.cli.main import run_command

if __name__ == '__main__':
    sys.exit(run_command('convert'))
