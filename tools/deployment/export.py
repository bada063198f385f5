"""Export a model to ONNX, like `mmmaskdino export`: tools/deployment/export.py --config C --weights W --out F.onnx."""

import sys

from mmmaskdino.cli.main import run_command

if __name__ == '__main__':
    sys.exit(run_command('export'))
