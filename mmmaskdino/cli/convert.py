"""Convert weights to the model of a config, or this package's weights to the official names.

mmmaskdino convert maskdino_r50_50ep_300q.pth maskdino_r50.pth --config CONFIG
mmmaskdino convert mine.pth official.pth --config CONFIG --from mmmaskdino
"""

import argparse

from mmmaskdino.cli.messages import errors_as_messages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    from mmmaskdino.converters import KINDS

    kinds = '\n'.join(f'  {name:18} {kind.description}' for name, kind in KINDS.items())
    parser.epilog = f'KIND is one of:\n{kinds}'
    parser.add_argument('source', help='checkpoint (.pth, or .pkl of detectron2)')
    parser.add_argument('target', help='file to write (.pth)')
    parser.add_argument(
        '--config',
        required=True,
        help='config whose model gets the weights, or had them',
    )
    parser.add_argument('--from', dest='kind', choices=list(KINDS), metavar='KIND', help='default: found out')


def run(args: argparse.Namespace) -> int:
    """Convert, say what became of the weights, and return the exit status."""
    from mmmaskdino.apis.conversion import convert_file

    with errors_as_messages(ValueError, OSError):
        print(convert_file(args.source, args.target, args.config, args.kind))
    return 0
