"""Options that several commands share."""

import argparse

from mmengine.config import DictAction

from mmmaskdino.hub import resolve_model
from mmmaskdino.tile_grid import DEFAULT_OVERLAP, check_tiles

DEFAULT_MODEL = 'maskdino_r50_coco_panoptic'


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share: `--cfg-options`, `--launcher` and `--local-rank`."""
    add_config_options(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how several processes are started; set by tools/dist_*.sh and tools/slurm_*.sh',
    )
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help='set by the launcher')


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add `--cfg-options`."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='change config values, for example train_cfg.max_iters=9000 randomness.seed=1',
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, `--config` and `--weights`."""
    parser.add_argument(
        '--model',
        metavar='NAME',
        help='name of a model (mmmaskdino models), work directory, published folder, or checkpoint that holds its '
        f'config; default, without --config and --weights: {DEFAULT_MODEL}',
    )
    parser.add_argument('--config', help='file or name of a config')
    parser.add_argument('--weights', help='checkpoint file, URL, work directory or name of a model')


def chosen_model(args: argparse.Namespace) -> tuple[str | None, str | None]:
    """Model and weights of the options that :func:`add_model_arguments` adds, as `resolve_model` takes them.

    Raises:
        ValueError: They contradict each other, or something of them does not exist.
    """
    if args.model and (args.config or args.weights):
        raise ValueError('give either --model or --config and --weights')
    chosen = (args.model or args.config, args.weights)
    if chosen == (None, None):
        chosen = (DEFAULT_MODEL, None)
    resolve_model(*chosen)
    return chosen


def check_above_zero(args: argparse.Namespace, *names: str) -> None:
    """Reject numbers that are not above 0.

    Args:
        args: The options.
        names: Of those to check, as attributes.

    Raises:
        ValueError: Naming the option.
    """
    for name in names:
        if not getattr(args, name) > 0:
            raise ValueError(f'--{name.replace("_", "-")} must be above 0, got {getattr(args, name)}')


def add_tta_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--tta`, `--tta-scales` and `--tta-flips`."""
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: merge several views of each image, those of --tta-scales and --tta-flips or of '
        "the config's tta_pipeline",
    )
    parser.add_argument(
        '--tta-scales',
        nargs='+',
        type=float,
        metavar='FACTOR',
        help="factors of the test pipeline's size (default: 0.75 1 1.25)",
    )
    parser.add_argument(
        '--tta-flips',
        nargs='*',
        choices=('horizontal', 'vertical', 'diagonal'),
        help='flips besides none (default: horizontal; without a value: none)',
    )


def add_tiles_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--tiles` and `--overlap`."""
    parser.add_argument(
        '--tiles',
        type=int,
        metavar='PIXELS',
        help='cut images into square tiles of this side, which overlap, and join what they show; default: no tiles',
    )
    parser.add_argument(
        '--overlap',
        type=float,
        metavar='SHARE',
        help='least share of a tile that its neighbour shows, too, 0.05 to 0.75 (default: 0.2)',
    )


def check_tiles_arguments(args: argparse.Namespace) -> None:
    """Reject tiles that cannot work; without an option, the overlap is 0.2.

    Raises:
        ValueError: Naming the option.
    """
    if args.tiles is None and args.overlap is not None:
        raise ValueError('--overlap needs --tiles')
    args.overlap = DEFAULT_OVERLAP if args.overlap is None else args.overlap
    if args.tiles is not None:
        check_tiles(args.tiles, args.overlap)


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument(
        '--device', help='cpu, cuda, the number of a GPU or mps, for example; default: the first GPU, or else the CPU'
    )
