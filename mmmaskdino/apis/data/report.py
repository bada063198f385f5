"""A summary as text and as a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from terminaltables import AsciiTable

from mmmaskdino.datasets.annotation_report import count_places
from mmmaskdino.plain_text import printable, without_formulas

from .checking import SplitSummary

MAX_BARS = 40  # classes in the picture


def format_summary(summary: SplitSummary) -> str:
    """Counts, a table of the classes, sizes, remarks and every problem, as lines of text."""
    split, is_semantic = summary.split, summary.split.kind == 'semantic'
    kind = split.kind if summary.has_masks else 'detection'
    folder = split.root / split.image_dir
    lines = [f'{split.source} ({kind}, {split.name}): {summary.num_images} images in {folder}']
    if summary.classes:
        lines += [AsciiTable(_class_rows(summary)).table]
    if summary.sizes:
        lines.append(f'  image sizes (width x height): {_describe_sizes(summary.sizes)}')
    if summary.areas and not is_semantic:
        roots = np.sqrt(summary.areas)
        lines.append(f'  object sizes (root of the area): {_describe_numbers(roots)} pixels')
    if summary.objects_per_image:
        empty = summary.objects_per_image.count(0)
        lines.append(f'  objects per image: {_describe_numbers(summary.objects_per_image)}; {empty} images have none')
    if summary.pixels is not None and summary.pixels.sum():
        lines.append(f'  ignored (label 255): {summary.pixels[-1] / summary.pixels.sum():.1%} of the pixels')
    lines += [f'  note: {remark}' for remark in format_remarks(summary)]
    lines += [f'  problem: {problem}' for problem in summary.problems] or ['  no problems']
    return '\n'.join(lines)


def format_remarks(summary: SplitSummary) -> list[str]:
    """A line for each kind of oddity, with its number and the first few places."""
    return [f'{remark}: {count_places(places)}' for remark, places in summary.remarks.items()]


def draw_summaries(summaries: Sequence[SplitSummary], path: Path) -> None:
    """Draw classes, image sizes, objects per image and object sizes; a row for each part of the dataset.

    Args:
        summaries: At least one.
        path: Picture to write; its folder is made.
    """
    figure = Figure(figsize=(20, 4.5 * len(summaries)), layout='constrained')
    axes = figure.subplots(len(summaries), 4, squeeze=False)
    for row, summary in zip(axes, summaries, strict=True):
        _draw_classes(row[0], summary)
        sizes = np.array(summary.sizes).reshape(-1, 2)
        row[1].scatter(sizes[:, 0], sizes[:, 1], s=12, alpha=0.4)
        row[1].set(title='images', xlabel='width in pixels', ylabel='height in pixels', xlim=(0, None), ylim=(0, None))
        counts = Counter(summary.objects_per_image)
        row[2].bar(list(counts), list(counts.values()))
        row[2].set(title='objects per image', xlabel='objects', ylabel='images')
        roots = np.sqrt(summary.areas)
        row[3].hist(roots, bins=np.linspace(0, roots.max(initial=1), 41))  # a number of bins fails beyond 1e15
        row[3].set(title='sizes of objects', xlabel='root of the area in pixels', ylabel='objects')
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def _draw_classes(axis, summary: SplitSummary) -> None:
    order = sorted(range(len(summary.classes)), key=lambda label: -summary.objects[label])[:MAX_BARS][::-1]
    colors = ['tab:blue' if label < summary.num_things else 'tab:green' for label in order]
    axis.barh(
        [without_formulas(printable(str(summary.classes[label]))) for label in order],
        [summary.objects[i] for i in order],
        color=colors,
    )
    more = f', the {MAX_BARS} most frequent of {len(summary.classes)}' if len(summary.classes) > MAX_BARS else ''
    axis.set(
        title=f'{without_formulas(printable(str(summary.split.source)))}\nobjects by class{more}', xlabel='objects'
    )
    axis.tick_params(axis='y', labelsize=7)


def _class_rows(summary: SplitSummary) -> list[list[str]]:
    is_panoptic, is_semantic = summary.split.kind == 'panoptic', summary.split.kind == 'semantic'
    rows = [['class', *(['kind'] if is_panoptic else []), *([] if is_semantic else ['objects']), 'images']]
    for label, name in enumerate(summary.classes):
        if not summary.named and not summary.images[label]:
            continue  # a number that no label map has
        kind = ['thing' if label < summary.num_things else 'stuff'] if is_panoptic else []
        objects = [] if is_semantic else [str(summary.objects[label])]
        rows.append([str(name), *kind, *objects, str(summary.images[label])])
    return rows


def _describe_sizes(sizes: list[tuple[int, int]]) -> str:
    counts = Counter(sizes)
    if len(counts) <= 3:
        return ', '.join(f'{width} x {height} ({count})' for (width, height), count in counts.most_common())
    by_area = sorted(sizes, key=lambda size: size[0] * size[1])
    named = zip(('smallest', 'median', 'largest'), (by_area[0], by_area[len(sizes) // 2], by_area[-1]), strict=True)
    return ', '.join(f'{name} {width} x {height}' for name, (width, height) in named)


def _describe_numbers(numbers: Sequence[float]) -> str:
    return f'least {min(numbers):.0f}, median {np.median(numbers):.0f}, most {max(numbers):.0f}'
