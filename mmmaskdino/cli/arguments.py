"""Options that several commands share."""

import argparse

from mmengine.config import DictAction

from mmmaskdino.apis.given_files import check_config, check_weights
from mmmaskdino.cli.messages import errors_as_messages
from mmmaskdino.devices import check_name


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


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument(
        '--device', help='cpu, cuda, the number of a GPU or mps, for example; default: the first GPU, or else the CPU'
    )


def check_given(config: str | None = None, weights: str | None = None, device: str | None = None) -> None:
    """Reject what cannot be followed, before anything is imported that takes seconds.

    Args:
        config: Config file.
        weights: Checkpoint file or address.
        device: As of `--device`.

    Raises:
        CommandError: With what is wrong.
    """
    with errors_as_messages(ValueError):
        if config is not None:
            check_config(config)
        if weights is not None:
            check_weights(weights)
        check_name(device)
