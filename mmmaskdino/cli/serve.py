"""Serve a model by HTTP: POST an image file to /predict, get JSON with masks or a picture.

  mmmaskdino serve --model work_dirs/pets
  curl --data-binary @photo.jpg http://127.0.0.1:8000/predict
  curl --data-binary @photo.jpg 'http://127.0.0.1:8000/predict?result=picture' > picture.jpg

http://127.0.0.1:8000/docs describes it and lets you try it; /health tells whether it works. It listens to this machine
alone; --host 0.0.0.0 opens it to the network, without a password.
"""

from __future__ import annotations

import argparse
import importlib.util
import socket

from mmmaskdino.cli.arguments import (
    add_config_options,
    add_device_argument,
    add_model_arguments,
    check_above_zero,
    chosen_model,
)
from mmmaskdino.cli.messages import errors_as_messages
from mmmaskdino.devices import check_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_model_arguments(parser)
    add_device_argument(parser)
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on (default: %(default)s)')
    parser.add_argument('--port', type=int, default=8000, help='default: %(default)s')
    parser.add_argument(
        '--score-thr',
        type=float,
        help="lowest score of an instance, 0 to 1; default: the config's, or 0.3 if that is 0",
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=4,
        help='most images that are predicted together, when so many wait (default: %(default)s)',
    )
    parser.add_argument(
        '--max-megabytes', type=float, default=30, help='larger files are rejected (default: %(default)s)'
    )
    parser.add_argument(
        '--max-megapixels', type=float, default=64, help='larger images are rejected (default: %(default)s)'
    )
    parser.add_argument(
        '--seconds',
        type=float,
        default=60,
        help='for a file to arrive, and again for its result; then the request fails (default: %(default)s)',
    )
    parser.add_argument(
        '--max-waiting', type=int, default=32, help='images that wait; more are rejected at once (default: %(default)s)'
    )
    add_config_options(parser)


def check_arguments(args: argparse.Namespace) -> None:
    """Reject a model, device or address that cannot be."""
    with errors_as_messages(ValueError, OSError):
        check_above_zero(args, 'batch_size', 'max_megabytes', 'max_megapixels', 'seconds', 'max_waiting')
        for package in ('fastapi', 'uvicorn'):
            if importlib.util.find_spec(package) is None:
                raise ValueError(f'{package} is not installed: pip install "mmmaskdino[serve]"')
        check_name(args.device)
        chosen_model(args)
        _check_address(args.host, args.port)


def run(args: argparse.Namespace) -> int:
    """Serve until it is interrupted; returns the exit status."""
    import uvicorn

    from mmmaskdino.apis.inference import Limits, Predictor
    from mmmaskdino.apis.serving import ServiceLimits, build_service

    with errors_as_messages(ValueError, OSError):
        predictor = Predictor(
            *chosen_model(args),
            device=args.device,
            score_thr=args.score_thr,
            limits=Limits(max_megapixels=args.max_megapixels),
            cfg_options=args.cfg_options,
        )
    limits = ServiceLimits(args.max_megabytes, args.seconds, args.max_waiting, args.batch_size)
    uvicorn.run(
        build_service(predictor, limits),
        host=args.host,
        port=args.port,
        limit_concurrency=2 * args.max_waiting + 16,  # bodies are in memory while they arrive
    )
    return 0


def _check_address(host: str, port: int) -> None:
    """Reject an address that is not free, before the seconds that a model takes.

    Raises:
        ValueError: With the reason.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        raise ValueError(f'cannot listen on {host}, port {port} ({error}); choose another with --port') from error
