"""Train a model.

  mmmaskdino train configs/maskdino/maskdino_r50_coco_instance.py --amp
  mmmaskdino train pets.py --load-from maskdino_r50_coco_instance
  mmmaskdino train CONFIG --resume
  mmmaskdino train CONFIG --cfg-options train_dataloader.batch_size=4 randomness.seed=1

Several GPUs: tools/dist_train.sh CONFIG NUM_PROCESSES [the same options]; slurm: tools/slurm_train.sh.
"""

import argparse
import os

from mmmaskdino.cli.arguments import add_run_arguments
from mmmaskdino.cli.faults import faults_as_messages
from mmmaskdino.cli.messages import CommandError, errors_as_messages
from mmmaskdino.hub import FetchError, find_config, find_start
from mmmaskdino.hub.table import SCHEME

WITHOUT_FETCHING = """\
a training can start without these weights, too:
  from those of a model that is on this disk:  --load-from work_dirs/NAME (or a file)
  with a random backbone, which takes longer:  --cfg-options model.backbone.init_cfg=None"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument('config', help='file or name of a config')
    parser.add_argument('--work-dir', help='folder of logs and checkpoints; default: work_dirs/<config name>')
    parser.add_argument('--amp', action='store_true', help='mixed precision (needs a GPU)')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by the global batch size over the config's auto_scale_lr.base_batch_size",
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint or, without a path, from the last one in the work dir if there is one',
    )
    parser.add_argument(
        '--load-from',
        metavar='WEIGHTS',
        help='weights of a whole model to start from, instead of those of the backbone: name of a model (mmmaskdino '
        'models), work directory, checkpoint file or URL; classes are matched by name',
    )
    add_run_arguments(parser)


def check_arguments(args: argparse.Namespace) -> None:
    """Reject a config or weights that do not exist."""
    with errors_as_messages(ValueError):
        find_config(args.config)
        named = str((args.cfg_options or {}).get('load_from', ''))
        if args.load_from or named.startswith(SCHEME):
            find_start(args.load_from or named)


def run(args: argparse.Namespace) -> int:
    """Train and return the exit status."""
    from mmmaskdino.apis.launch import guarded_run
    from mmmaskdino.apis.training import build_train_config, train

    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    with faults_as_messages():
        cfg = build_train_config(args)
    with faults_as_messages(cfg), guarded_run():
        try:
            train(cfg)
        except FetchError as error:
            raise CommandError(f'{error}\n{WITHOUT_FETCHING}') from error
    return 0
