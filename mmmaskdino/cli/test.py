"""Evaluate weights with the test data and the metrics of a config.

  mmmaskdino test configs/maskdino/maskdino_r50_coco_instance.py weights.pth
  mmmaskdino test CONFIG WEIGHTS --show-dir pictures
  mmmaskdino test CONFIG WEIGHTS --out predictions.pkl
  mmmaskdino test CONFIG WEIGHTS --tta --tta-scales 0.75 1 1.25

Several GPUs: tools/dist_test.sh CONFIG WEIGHTS NUM_PROCESSES [the same options]; slurm: tools/slurm_test.sh.
"""

import argparse
import os

from mmmaskdino.cli.arguments import add_run_arguments, add_tta_arguments
from mmmaskdino.cli.faults import faults_as_messages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument('config', help='config file, or its name in the model zoo')
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('--work-dir', help='folder of the log and the metrics; default: work_dirs/<config name>')
    parser.add_argument('--out', help='also write all predictions to this file (.pkl)')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument(
        '--show-dir', help='write pictures of the predictions to the folder SHOW_DIR inside the work dir'
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds each picture of --show stays')
    add_tta_arguments(parser)
    add_run_arguments(parser)


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
