"""Evaluate weights with the test data and the metrics of a config.

  mmmaskdino test configs/maskdino/maskdino_r50_coco_instance.py weights.pth
  mmmaskdino test maskdino_r50_coco_panoptic
  mmmaskdino test work_dirs/pets --show-dir pictures
  mmmaskdino test CONFIG WEIGHTS --out predictions.pkl
  mmmaskdino test CONFIG WEIGHTS --tta --tta-scales 0.75 1 1.25
  mmmaskdino test CONFIG WEIGHTS --tiles 1024 --overlap 0.2

Several GPUs: tools/dist_test.sh CONFIG WEIGHTS NUM_PROCESSES [the same options]; slurm: tools/slurm_test.sh.
"""

import argparse
import os
from pathlib import Path

from mmmaskdino.cli.arguments import add_run_arguments, add_tiles_arguments, add_tta_arguments, check_tiles_arguments
from mmmaskdino.cli.faults import faults_as_messages
from mmmaskdino.cli.messages import errors_as_messages
from mmmaskdino.hub import resolve_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        'config', help='file or name of a config; alone: name of a model, work directory, or checkpoint with its config'
    )
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file, URL, work directory or name of a model')
    parser.add_argument('--work-dir', help='folder of the log and the metrics; default: work_dirs/<config name>')
    parser.add_argument('--out', help='also write all predictions to this file (.pkl)')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument(
        '--show-dir', help='write pictures of the predictions to the folder SHOW_DIR inside the work dir'
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds each picture of --show stays')
    add_tta_arguments(parser)
    add_tiles_arguments(parser)
    add_run_arguments(parser)


def check_arguments(args: argparse.Namespace) -> None:
    """Reject a model that does not exist, and an output file that could not be written."""
    with errors_as_messages(ValueError):
        if args.out is not None and Path(args.out).suffix not in ('.pkl', '.pickle'):
            raise ValueError(f'--out expects a name that ends with .pkl or .pickle, got {args.out}')
        check_tiles_arguments(args)
        resolve_model(args.config, args.checkpoint)


def run(args: argparse.Namespace) -> int:
    """Evaluate and return the exit status."""
    from mmmaskdino.apis.launch import guarded_run
    from mmmaskdino.apis.testing import build_test_config, evaluate

    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    with faults_as_messages():
        cfg = build_test_config(args)
    with faults_as_messages(cfg), guarded_run():
        evaluate(cfg, args.out)
    return 0
