"""What is wrong between the parts of a dataset, or with all of them together."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from mmmaskdino.datasets.annotation_report import as_json
from mmmaskdino.datasets.files import IMAGE_SUFFIXES, DataError, is_leftover
from mmmaskdino.datasets.label_values import IGNORED

from .checking import SplitSummary

MAX_LISTED = 10


def choose_parts(summaries: Sequence[SplitSummary]) -> tuple[SplitSummary, SplitSummary]:
    """The parts to train on and to evaluate.

    Args:
        summaries: Of all parts, all of one kind.

    Returns:
        That named 'train' (or the only one), and that named 'val' (or 'test', or else the first).

    Raises:
        DataError: None is named so, or several are.
    """
    by_name = {summary.split.name: summary for summary in summaries}
    train = by_name.get('train') or (summaries[0] if len(summaries) == 1 else None)
    if train is None:
        raise DataError(
            f"none of the parts {sorted(by_name)} is called 'train'; name files or folders train and val, or give one "
            'annotation file as PATH (to data config with another as --val)'
        )
    val = by_name.get('val') or by_name.get('test') or train
    for doubled in find_doubled_parts([s for s in summaries if s.split.name in (train.split.name, val.split.name)]):
        raise DataError(doubled)
    return train, val


def find_doubled_parts(summaries: Sequence[SplitSummary]) -> list[str]:
    """Parts of one kind and name, between which a config cannot choose."""
    sources = defaultdict(list)
    for summary in summaries:
        sources[summary.split.kind, summary.split.name].append(str(summary.split.source))
    return [
        f"more than one part is called '{name}': {', '.join(files)}; give one annotation file as PATH (to "
        'data config with another as --val)'
        for (_, name), files in sources.items()
        if len(files) > 1
    ]


def compare_parts(summaries: Sequence[SplitSummary], whole_folder: bool) -> None:
    """Add what only all parts together show to their problems and remarks.

    Args:
        summaries: Of all parts that were asked for.
        whole_folder: Whether they are all parts of a folder, so that images that none lists are worth a remark.
    """
    by_kind = _by_kind(summaries)
    for parts in by_kind.values():
        for one, other in combinations(parts, 2):
            _find_shared_images(one, other)
    _judge_labels([part for part in by_kind['semantic'] if part.pixels is not None])
    if whole_folder:
        _find_unlisted_images(summaries)


def find_differences(summaries: Sequence[SplitSummary]) -> list[str]:
    """What keeps the parts of one kind from being trained on and evaluated together.

    Args:
        summaries: Of parts of any kinds; each is compared with the first of its kind. Label maps have no names, by
            which classes could be compared.

    Returns:
        Problems, each in one line. The order of the classes does not matter, since they are found by name.
    """
    problems = []
    for kind, parts in _by_kind(summaries).items():
        for other in parts[1:] if kind != 'semantic' else ():
            problems += _differences(parts[0], other)
    return problems


def _differences(first: SplitSummary, other: SplitSummary) -> list[str]:
    if not first.classes or not other.classes:  # it has problems of its own
        return []
    problems = []
    pairs = ((first, other.classes), (other, first.classes))
    lacking = {s.split.source: [name for name in names if name not in s.classes] for s, names in pairs}
    both = ' and '.join(map(str, lacking))
    if any(lacking.values()):
        what = ', '.join(f'{source} lacks {as_json(names)}' for source, names in lacking.items() if names)
        problems.append(
            f"{both} have different classes: {what}; give both the same 'categories', also those without objects there"
        )
    things = [set(s.classes[: s.num_things]) for s in (first, other)]
    changed = [name for name in first.classes if name in other.classes and (name in things[0]) != (name in things[1])]
    if first.split.kind == 'panoptic' and changed:
        problems.append(f"{both} differ in 'isthing' of the categories {as_json(changed)}; give both the same")
    if first.objects and other.objects and first.has_masks != other.has_masks:
        with_masks, without = (first, other) if first.has_masks else (other, first)
        problems.append(
            f'{with_masks.split.source} has masks, {without.split.source} has boxes alone; give both masks, or '
            'train boxes alone (mmmaskdino data config --boxes-only)'
        )
    return problems


def find_unused_classes(summaries: Sequence[SplitSummary]) -> list[str]:
    """Classes without any object in any part, such as an entry of the categories that groups the others.

    Args:
        summaries: Of all parts of the dataset that have instances.

    Returns:
        Names, in the order of the first part; none where no part has an object at all.
    """
    used = {summary.classes[label] for summary in summaries for label in summary.objects}
    return [name for name in summaries[0].classes if name not in used] if used else []


def _by_kind(summaries: Sequence[SplitSummary]) -> dict[str, list[SplitSummary]]:
    kinds: dict[str, list[SplitSummary]] = defaultdict(list)
    for summary in summaries:
        kinds[summary.split.kind].append(summary)
    return kinds


def _find_shared_images(one: SplitSummary, other: SplitSummary) -> None:
    shared = sorted(_real_paths(one) & _real_paths(other))
    for part, second in ((one, other), (other, one)):
        for path in shared:
            part.remarks.setdefault(f'images that are in {second.split.source} as well', []).append(
                os.path.basename(path)
            )


def _real_paths(summary: SplitSummary) -> set[str]:
    """Paths of the images with the links of their folders followed."""
    folders: dict[str, str] = {}
    found = set()
    for path in summary.paths:
        folder, name = os.path.split(os.path.normpath(path))
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        found.add(os.path.join(folders[folder], name))
    return found


def _find_unlisted_images(summaries: Sequence[SplitSummary]) -> None:
    """Pictures beside the images that no json lists: perhaps a part is missing. Others are told with label maps."""
    listed = set().union(*map(_real_paths, summaries)) if summaries else set()
    label_ends = tuple({s.split.seg_suffix for s in summaries if s.split.seg_suffix})
    png_folders = {os.path.realpath(s.split.root / s.split.seg_dir) for s in summaries if s.split.seg_dir}
    seen: set[str] = set()
    for summary in (s for s in summaries if s.split.kind != 'semantic'):
        for folder in sorted({os.path.dirname(path) for path in _real_paths(summary)} - seen - png_folders):
            seen.add(folder)
            for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
                is_image = Path(name).suffix.lower() in IMAGE_SUFFIXES and not is_leftover(name)
                if is_image and f'{folder}/{name}' not in listed and not (label_ends and name.endswith(label_ends)):
                    kind = f'images in {folder} that no annotation file lists are left out'
                    summary.remarks.setdefault(kind, []).append(name)


def _judge_labels(parts: Sequence[SplitSummary]) -> None:
    """Whether the labels of all label maps together can be classes."""
    if not parts:
        return
    pixels = np.sum([part.pixels for part in parts], axis=0)
    found = np.flatnonzero(pixels[:IGNORED]).tolist()
    if found == [0] and pixels[IGNORED]:
        fault = (
            'the label maps have 0 and 255 alone, and 255 is where nothing is labelled: they look like masks whose '
            'objects are 255. Write 1 in the place of 255'
        )
    elif not found and pixels[IGNORED]:
        fault = 'the label maps have 255 alone, which is where nothing is labelled'
    elif not parts[0].named and found and 2 * len(found) <= found[-1]:
        shown = ', '.join(map(str, found[:MAX_LISTED])) + (', ...' if len(found) > MAX_LISTED else '')
        fault = (
            f'{len(found)} of {found[-1] + 1} labels occur: {shown}. They look like grey levels; label maps have class '
            f'indices from 0. Write 0 to {len(found) - 1}, or name all classes with --classes'
        )
    else:
        fault = None
    unused = [name for label, name in enumerate(parts[0].classes) if label not in found]
    for part in parts:
        if fault:
            part.problems.append(fault)
            continue
        if unused and found:
            part.remarks['classes of which no part has a pixel'] = unused
        if part.pixels[IGNORED] and not part.pixels[:IGNORED].any():
            kind = 'every pixel is 255, where nothing is labelled: nothing can be learned or measured'
            part.remarks[kind] = ['all label maps']
