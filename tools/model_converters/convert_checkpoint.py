"""Convert weights: python tools/model_converters/convert_checkpoint.py SOURCE TARGET --config CONFIG."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch

from mmmaskdino import __version__
from mmmaskdino.apis import load_config
from mmmaskdino.converters import KINDS, convert, read_checkpoint, read_target
from mmmaskdino.converters.classes import CLASS_HEAD
from mmmaskdino.converters.kinds import Result, coarsest_first
from mmmaskdino.converters.target import Target


def parse_args() -> argparse.Namespace:
    kinds = '\n'.join(f'  {name:18} {kind.description}' for name, kind in KINDS.items())
    parser = argparse.ArgumentParser(
        description="Convert weights to the model of a config, or this package's weights to the official names.",
        epilog=f'KIND is one of:\n{kinds}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', help='checkpoint (.pth, or .pkl of detectron2)')
    parser.add_argument('target', help='file to write (.pth)')
    parser.add_argument('--config', required=True, help='config whose model gets the weights, or had them')
    parser.add_argument('--from', dest='kind', choices=list(KINDS), metavar='KIND', help='default: found out')
    return parser.parse_args()


def describe(result: Result, num_source: int) -> str:
    """What was used, dropped, added and left, with the reasons."""
    conversion = result.conversion
    lines = [f'{result.kind}: {len(conversion.used)} of {num_source} tensors used']
    for title, names in (('dropped', conversion.dropped), ('added', conversion.added), ('random', result.random)):
        lines += _summary(title, names)
    return '\n'.join(lines)


def _summary(title: str, names: Mapping[str, str]) -> list[str]:
    """One line per reason."""
    counts = Counter(names.values())
    examples = {reason: name for name, reason in reversed(names.items())}
    return [f'  {title}: {count} ({reason}), for example {examples[reason]}' for reason, count in counts.items()]


def file_content(result: Result, target: Target) -> dict:
    """Tensors and plain metadata in the form that the reader of the file expects."""
    meta = dict(converted_from=result.kind, mmmaskdino_version=__version__)
    tensors = {name: tensor.contiguous() for name, tensor in result.conversion.tensors.items()}
    if result.kind == 'mmmaskdino':
        return dict(model=tensors, meta=meta)
    if any(name.endswith(CLASS_HEAD) for name in tensors):
        meta['dataset_meta'] = target.dataset_meta
    return dict(state_dict=tensors, meta=meta)


def main() -> None:
    args = parse_args()
    try:
        target = read_target(load_config(args.config))
        source = read_checkpoint(args.source).tensors
        result = convert(source, target, args.kind)
    except ValueError as error:
        raise SystemExit(f'convert_checkpoint.py: {error}') from None
    Path(args.target).parent.mkdir(parents=True, exist_ok=True)
    torch.save(file_content(result, target), args.target)
    print(describe(result, len(source)))
    if result.kind == 'mmmaskdino':
        order = 'high2low' if coarsest_first(target) else 'low2high'
        print(f'  the official config needs MODEL.SEM_SEG_HEAD.FEATURE_ORDER: {order}')
    print(f'wrote {args.target}')


if __name__ == '__main__':
    main()
