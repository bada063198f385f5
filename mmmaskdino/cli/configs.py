"""List the configs that come with the package, by the names that stand for them wherever a config is asked for.

mmmaskdino configs
mmmaskdino configs panoptic r50
"""

import argparse

from mmmaskdino.cli.messages import CommandError
from mmmaskdino.hub.table import shipped_configs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument('words', nargs='*', metavar='WORD', help='only configs with all of these in their line')


def run(args: argparse.Namespace) -> int:
    """Print names with the first line of each file; returns the exit status."""
    configs = shipped_configs()
    width = max(map(len, configs))
    lines = []
    for name, path in configs.items():
        first = path.read_text(encoding='utf-8').partition('\n')[0]
        lines.append(f'{name:{width}}  {first.removeprefix("# ") if first.startswith("#") else ""}'.rstrip())
    chosen = [line for line in lines if all(word.lower() in line.lower() for word in args.words)]
    if not chosen:
        raise CommandError(f'no config has all of these in its line: {" ".join(args.words)}')
    print('\n'.join(chosen))
    return 0
