"""Export a model to ONNX: python tools/deployment/export.py --config CONFIG --weights WEIGHTS --out model.onnx."""

import sys

from mmmaskdino.export.command import main

if __name__ == '__main__':
    sys.exit(main())
