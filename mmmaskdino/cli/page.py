"""Try a model in the browser: upload a photograph or take one, see boxes, masks, panoptic or semantic segmentation.

  mmmaskdino page --model work_dirs/pets
  mmmaskdino page --config CONFIG --weights WEIGHTS

The page is for this machine alone; --host 0.0.0.0 opens it to the network, without a password.
"""

import argparse
from pathlib import Path

from mmmaskdino.cli.arguments import (
    add_config_options,
    add_device_argument,
    add_model_arguments,
    check_above_zero,
    chosen_model,
)
from mmmaskdino.cli.messages import CommandError, errors_as_messages
from mmmaskdino.devices import check_name

MAX_FILE_SIZE = '30mb'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_model_arguments(parser)
    add_device_argument(parser)
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on (default: %(default)s)')
    parser.add_argument('--port', type=int, default=7860, help='default: %(default)s')
    parser.add_argument(
        '--max-megapixels', type=float, default=16, help='larger photographs are rejected (default: %(default)s)'
    )
    add_config_options(parser)


def check_arguments(args: argparse.Namespace) -> None:
    """Reject a model or device that cannot be."""
    with errors_as_messages(ValueError):
        check_above_zero(args, 'max_megapixels')
        chosen_model(args)
        check_name(args.device)


def run(args: argparse.Namespace) -> int:
    """Serve the page until it is interrupted; returns the exit status."""
    try:
        from mmmaskdino.page.app import build_page
    except ModuleNotFoundError as error:
        if error.name != 'gradio':
            raise
        raise CommandError('gradio is not installed: pip install "mmmaskdino[page]"') from error
    from mmmaskdino.apis.inference import Limits, Predictor
    from mmmaskdino.page.viewer import Viewer

    with errors_as_messages(ValueError, OSError):
        limits = Limits(max_megapixels=args.max_megapixels)
        model, weights = chosen_model(args)
        predictor = Predictor(model, weights, args.device, limits=limits, cfg_options=args.cfg_options)
        page = build_page(Viewer(predictor), f'Mask DINO: {Path(model or weights).stem}')
        page.launch(
            server_name=args.host, server_port=args.port, max_file_size=MAX_FILE_SIZE, share=False, footer_links=[]
        )
    return 0
