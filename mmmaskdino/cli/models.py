"""Models by name: list them, fetch them, and check what they reach.

  mmmaskdino models
  mmmaskdino models list panoptic
  mmmaskdino models fetch maskdino_r50_coco_panoptic maskdino_r50_coco_instance
  mmmaskdino models path maskdino_r50_coco_panoptic
  mmmaskdino models verify maskdino_r50_coco_panoptic
  mmmaskdino models verify maskdino_r50_coco_panoptic --data data/coco

A name stands for a model in predict, page, test, export and Predictor; maskdino://NAME wherever a checkpoint is loaded
(load_from, init_cfg). Numbers of the list are published, in percent.

Environment: MMMASKDINO_HOME (where files are kept; ~/.cache/mmmaskdino), MMMASKDINO_MIRROR (address looked at first),
MMMASKDINO_OFFLINE=1, MMMASKDINO_KEEP_ORIGINALS=1, MMMASKDINO_MODELS (files of one's own tables), https_proxy.
"""

from __future__ import annotations

import argparse

from mmmaskdino.cli.messages import CommandError, errors_as_messages
from mmmaskdino.hub import Entry, cached_model, fetch_model, find_entry, read_table
from mmmaskdino.hub.cache import verify_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.set_defaults(words=[])
    actions = parser.add_subparsers(dest='action', metavar='ACTION')
    listing = actions.add_parser('list', help='all models, or those with all of some words in their line')
    listing.add_argument('words', nargs='*', metavar='WORD')
    fetch = actions.add_parser('fetch', help='fetch models and convert them')
    fetch.add_argument('names', nargs='+', metavar='NAME')
    fetch.add_argument('--keep', action='store_true', default=None, help='keep the original file as well')
    path = actions.add_parser('path', help='print where a fetched model is')
    path.add_argument('name', metavar='NAME')
    verify = actions.add_parser(
        'verify', help='check the files of a model or, with its data, its numbers against the published ones'
    )
    verify.add_argument('name', metavar='NAME')
    verify.add_argument('--data', help='folder of the data, such as data/coco: evaluate and compare')
    verify.add_argument(
        '--tolerance', type=float, default=0.2, help='largest difference in percent points (default: %(default)s)'
    )


def check_arguments(args: argparse.Namespace) -> None:
    """Reject names that do not exist."""
    with errors_as_messages(ValueError):
        for name in getattr(args, 'names', [args.name] if 'name' in args else []):
            find_entry(name)


def run(args: argparse.Namespace) -> int:
    """Do what is asked for; returns the exit status."""
    with errors_as_messages(ValueError, OSError):
        if args.action in (None, 'list'):
            print(format_table(read_table(), args.words))
        elif args.action == 'fetch':
            _fetch(args.names, args.keep)
        elif args.action == 'path':
            print(_receipt(args.name)['path'])
        elif args.data is None:
            print(verify_files(_receipt(args.name)))
        else:
            return _compare(args)
    return 0


def format_table(table: dict[str, Entry], words: list[str]) -> str:
    """The table for people; only lines with all of the words."""
    rows = [('name', 'task', 'data', 'backbone', 'published', 'size', 'licence', 'on this disk')]
    for entry in table.values():
        results = ', '.join(f'{metric} {value}' for metric, value in entry.results.items())
        size = entry.bytes / 1e6 if entry.bytes else entry.megabytes
        here = 'yes' if cached_model(entry) else 'no'
        shown = f'{"" if entry.bytes else "~"}{size:.0f} MB' if size else '?'
        texts = (entry.task, entry.data, entry.backbone, results, shown, entry.licence)
        rows.append((entry.name, *(text or '?' for text in texts), here))
    chosen = [row for row in rows[1:] if all(word.lower() in ' '.join(row).lower() for word in words)]
    if not chosen:
        raise ValueError(f'no model has all of these in its line: {" ".join(words)}')
    widths = [max(map(len, column)) for column in zip(rows[0], *chosen, strict=True)]
    lines = ['  '.join(map(str.ljust, row, widths)).rstrip() for row in (rows[0], *chosen)]
    return '\n'.join(lines)


def _fetch(names: list[str], keep: bool | None) -> None:
    from mmmaskdino.cli.main import load_package

    for name in names:
        entry = find_entry(name)
        if cached_model(entry) is None:
            load_package()
        print(f'{name}: {fetch_model(entry, keep)}')


def _receipt(name: str) -> dict:
    receipt = cached_model(find_entry(name))
    if receipt is None:
        raise CommandError(f'{name} is not on this disk; fetch it with: mmmaskdino models fetch {name}')
    return receipt


def _compare(args: argparse.Namespace) -> int:
    from mmmaskdino.cli.main import load_package

    load_package()
    from mmmaskdino.apis.launch import guarded_run
    from mmmaskdino.apis.testing import measure_model

    entry = find_entry(args.name)
    with guarded_run():
        measured = measure_model(entry, args.data)
    worst = max(abs(measured[metric] - value) for metric, value in entry.results.items())
    for metric, value in entry.results.items():
        print(f'{metric:8} published {value:5.1f}  measured {measured[metric]:6.2f}')
    print(f'largest difference {worst:.2f}, allowed {args.tolerance:g}')
    return int(worst > args.tolerance)
