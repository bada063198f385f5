"""Export a model to ONNX and check the file against PyTorch.

  mmmaskdino export --model work_dirs/pets --out model.onnx
  mmmaskdino export --config CONFIG --weights WEIGHTS --out model.onnx --outputs results --size 800 1344
  mmmaskdino export --config CONFIG --weights WEIGHTS --out model.onnx --check onnxruntime openvino --check-images *.jpg

Outputs of the file, for one image:
  raw      class_logits, boxes (cx, cy, w, h in 0 to 1 of the input), mask_logits (a quarter of the input)
  results  what test_cfg switches on: scores, labels, boxes (x1, y1, x2, y2 in pixels of the input), masks; panoptic
           (label + 1000 * instance); semantic (labels)

The exit status is 1 if the file does not compute what PyTorch computes.
"""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

from mmmaskdino.cli.arguments import add_config_options, add_model_arguments, chosen_model
from mmmaskdino.cli.messages import CommandError, errors_as_messages

if TYPE_CHECKING:
    from mmmaskdino.export.exporter import Export


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_model_arguments(parser)
    parser.add_argument('--out', required=True, metavar='FILE', help='the ONNX file')
    parser.add_argument(
        '--outputs', choices=('raw', 'results'), default='raw', help='without or with post-processing (default: raw)'
    )
    parser.add_argument(
        '--size', type=int, nargs=2, metavar=('H', 'W'), help='fixed size of the input; default: any multiples of 32'
    )
    parser.add_argument('--opset', type=int, default=17, help='16 or higher (default: %(default)s)')
    parser.add_argument(
        '--check',
        nargs='+',
        choices=('onnxruntime', 'openvino'),
        default=['onnxruntime'],
        help='what to compare with PyTorch (default: onnxruntime)',
    )
    parser.add_argument(
        '--check-images', nargs='+', default=[], metavar='IMAGE', help='compare on these too, beside generated images'
    )
    add_config_options(parser)


def check_arguments(args: argparse.Namespace) -> None:
    """Reject a model that does not exist."""
    with errors_as_messages(ValueError):
        chosen_model(args)


def run(args: argparse.Namespace) -> int:
    """Export, check, and print how well the file agrees; returns the exit status."""
    try:
        from mmmaskdino.export.check import CheckError
        from mmmaskdino.export.exporter import export_onnx
    except ModuleNotFoundError as error:
        if error.name not in ('onnx', 'onnxruntime', 'openvino'):
            raise
        raise CommandError(f'{error.name} is not installed: pip install "mmmaskdino[export]"') from error
    from mmmaskdino.apis.inference.model import build_model
    from mmmaskdino.apis.launch import open_model

    logging.getLogger('mmengine').setLevel(logging.WARNING)
    with errors_as_messages(CheckError, ValueError, OSError):
        cfg, weights = open_model(*chosen_model(args), args.cfg_options)
        export = export_onnx(
            build_model(cfg, weights, 'cpu'),
            cfg,
            args.out,
            args.outputs,
            None if args.size is None else tuple(args.size),
            args.opset,
            args.check,
            args.check_images,
        )
    print(format_agreements(export))
    return 0


def format_agreements(export: Export) -> str:
    """A table of the largest differences, and what was written."""
    lines = ['largest differences from PyTorch (scores, boxes, logits; share of the pixels of maps)']
    for runtime, name, canvas, image, differences, _ in export.agreements:
        values = '  '.join(f'{key} {value:.1e}' for key, value in differences.items())
        lines.append(f'  {runtime:12}{name}, {_size(image)} in {_size(canvas)}:  {values}')
    megabytes = export.path.stat().st_size / 1e6
    lines.append(f'{export.path}: {megabytes:.1f} MB, outputs: {export.metadata["outputs"]}')
    return '\n'.join(lines)


def _size(shape: tuple[int, int]) -> str:
    return ' x '.join(map(str, shape))
