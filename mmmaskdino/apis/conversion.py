"""Conversion of weights from file to file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.config import Config

from mmmaskdino.apis.launch import load_config
from mmmaskdino.converters import KINDS, convert, read_checkpoint, read_target
from mmmaskdino.converters.classes import CLASS_HEAD
from mmmaskdino.converters.kinds import Result, coarsest_first
from mmmaskdino.converters.target import Target
from mmmaskdino.engine.checkpoints import PARTIAL_SUFFIX, complete_file
from mmmaskdino.version import __version__


def convert_file(source: str | Path, target: str | Path, config: str | Path | Config, kind: str | None = None) -> str:
    """Convert a checkpoint to the model of a config, or back.

    Args:
        source: Checkpoint to read.
        target: File to write; its folder is made. It holds the config, where the model is complete.
        config: Config whose model gets the weights, or had them.
        kind: A key of `mmmaskdino.converters.KINDS`; None to find it out.

    Returns:
        What was used, dropped, added and left, with the reasons, for people.

    Raises:
        ValueError: The file or the config is of the wrong kind.
    """
    cfg = load_config(config)
    model = read_target(cfg)
    tensors = read_checkpoint(source).tensors
    result = convert(tensors, model, kind)
    content = _file_content(result, model)
    if result.kind != 'mmmaskdino' and not KINDS[result.kind].is_backbone and not result.random:
        content['meta'].update(cfg=cfg.pretty_text, experiment_name=Path(cfg.filename).stem)
    _save(content, Path(target))
    lines = [_describe(result, len(tensors))]
    if result.kind == 'mmmaskdino':
        order = 'high2low' if coarsest_first(model) else 'low2high'
        lines.append(f'  the official config needs MODEL.SEM_SEG_HEAD.FEATURE_ORDER: {order}')
    return '\n'.join([*lines, f'wrote {target}'])


def _save(content: dict, path: Path) -> None:
    """Write a file that is complete as soon as it has its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        torch.save(content, partial)
        complete_file(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _describe(result: Result, num_source: int) -> str:
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


def _file_content(result: Result, target: Target) -> dict:
    """Tensors and plain metadata in the form that the reader of the file expects."""
    meta = dict(converted_from=result.kind, mmmaskdino_version=__version__)
    tensors = {name: tensor.contiguous() for name, tensor in result.conversion.tensors.items()}
    if result.kind == 'mmmaskdino':
        return dict(model=tensors, meta=meta)
    if any(name.endswith(CLASS_HEAD) for name in tensors):
        meta['dataset_meta'] = target.dataset_meta
    return dict(state_dict=tensors, meta=meta)
