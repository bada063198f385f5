"""Try a model in the browser: upload a photograph or take one, see boxes, masks, panoptic or semantic segmentation.

  python -m mmmaskdino.page --config CONFIG --weights WEIGHTS

The page is for this machine alone; --host 0.0.0.0 opens it to the network, without a password.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import DictAction

MAX_FILE_SIZE = '30mb'


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m mmmaskdino.page', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', required=True, help='config file')
    parser.add_argument('--weights', required=True, help='checkpoint file or URL')
    parser.add_argument('--device', help='cpu or cuda:0, for example; default: the first GPU, or else the CPU')
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on (default: %(default)s)')
    parser.add_argument('--port', type=int, default=7860, help='default: %(default)s')
    parser.add_argument(
        '--max-megapixels', type=float, default=16, help='larger photographs are rejected (default: %(default)s)'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change values of the config'
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until it is interrupted; returns the exit status."""
    args = parse_args(argv)
    try:
        from .app import build_page
    except ModuleNotFoundError as error:
        if error.name != 'gradio':
            raise
        return _fail('gradio is not installed: pip install "mmmaskdino[page]"')
    from mmmaskdino.apis.inference import Limits, Predictor

    from .viewer import Viewer

    try:
        limits = Limits(max_megapixels=args.max_megapixels)
        predictor = Predictor(args.config, args.weights, args.device, limits=limits, cfg_options=args.cfg_options)
        page = build_page(Viewer(predictor), f'Mask DINO: {Path(args.config).stem}')
        page.launch(
            server_name=args.host, server_port=args.port, max_file_size=MAX_FILE_SIZE, share=False, footer_links=[]
        )
    except (ValueError, OSError) as error:
        return _fail(str(error))
    return 0


def _fail(message: str) -> int:
    print(f'page: {message}', file=sys.stderr)
    return 1


if __name__ == '__main__':
    sys.exit(main())
