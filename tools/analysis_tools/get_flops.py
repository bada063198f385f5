"""Count the floating-point operations and the parameters of a detector, deformable attention included."""

import argparse
import sys

from measuring.arguments import pixels
from measuring.models import Case, Subject, build_model
from mmengine.config import DictAction


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, its name in the model zoo, or the name of a peer of benchmark.py')
    parser.add_argument(
        '--shape', type=pixels, nargs=2, default=[800, 1344], metavar=('H', 'W'), help='size of the image'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value changes of the config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        model = build_model(args.config, args.cfg_options)
    except (ValueError, OSError) as error:
        sys.exit(f'get_flops.py: {error}')
    flops = Subject(model).flops(Case(training=False, size=tuple(args.shape)))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f'{flops / 1e9:.1f} GFLOP ({flops / 2e9:.1f} GMAC) at {args.shape[0]} x {args.shape[1]}')
    print(f'{parameters / 1e6:.2f} M parameters')


if __name__ == '__main__':
    main()
