"""Export a model to ONNX: tools/deployment/export.py --config C --weights W --out model.onnx; as `mmmaskdino export`."""

import sys

from mmmaskdino.cli.main import run_command

if __name__ == '__main__':
    sys.exit(run_command('export'))
