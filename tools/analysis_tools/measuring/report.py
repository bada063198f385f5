"""From measured figures to a table and a plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Recorded once, side by side on another CPU: seconds, MiB over the built model, counts. The seconds are compared
# through DINO, which was measured there too.
REFERENCE = dict(inference=2.51, training=7.37, memory=2834.0, operations=23437, waits=181)
DINO_THERE = dict(inference=1.92, training=5.17)
# The aims of the project: the largest ratio, or count, that is good enough.
AIMS = {
    'inference / reference': 0.55,
    'inference / DINO': 0.75,
    'training / reference': 0.4,
    'training / DINO': 0.57,
    'memory / reference': 0.5,
    'operations': 9400,
    'waits': 5,
    'waits of panoptic results': 3,
    '100 objects / 5 objects': 1.5,
}


def compare(figures: Mapping[str, Mapping[str, Any]], ours: str) -> dict[str, float]:
    """The figures that :data:`AIMS` speaks of.

    Args:
        figures (Mapping): By model; with ``inference``, ``training``, ``crowded`` (seconds by part), ``memory``,
            ``operations``, ``waits``, and of ours ``panoptic_waits``.
        ours (str): Name of our model; DINO must be among the others.
    """
    own, dino = figures[ours], figures['DINO']
    ratios = {}
    for case in ('inference', 'training'):
        there = own[case]['total'] / dino[case]['total'] * DINO_THERE[case] / REFERENCE[case]
        ratios |= {f'{case} / reference': there, f'{case} / DINO': own[case]['total'] / dino[case]['total']}
    return ratios | {
        'memory / reference': (own['memory']['peak'] - own['memory']['model']) / REFERENCE['memory'],
        'operations': own['operations'],
        'waits': own['waits'],
        'waits of panoptic results': own['panoptic_waits'],
        '100 objects / 5 objects': own['crowded']['total'] / own['training']['total'],
    }


def format_aims(found: Mapping[str, float]) -> str:
    """A table of what was found, what was aimed at, and whether it was reached."""
    lines = [f'{"":28}{"found":>10}{"at most":>10}']
    for name, aim in AIMS.items():
        mark = '' if found[name] <= aim else '   missed'
        lines.append(f'{name:28}{found[name]:10.4g}{aim:10g}{mark}')
    return '\n'.join(lines)


def format_figures(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """A table of all models: seconds by part, memory, counts."""
    lines = []
    for name, figure in figures.items():
        lines.append(name)
        for case in ('inference', 'training', 'crowded'):
            seconds = figure[case]
            parts = ', '.join(f'{part} {value:.2f}' for part, value in seconds['parts'].items())
            lines.append(
                f'  {case:10} {seconds["total"]:6.2f} s ({seconds["least"]:.2f} - {seconds["most"]:.2f}): {parts}'
            )
        memory = figure['memory']
        lines.append(
            f'  training step: {memory["peak"]:.0f} MiB, {memory["peak"] - memory["model"]:.0f} over the model'
        )
        lines.append(f'  training step: {figure["operations"]} operations, the CPU waits {figure["waits"]} times')
        lines.append(f'  inference: {figure["gflop"]:.0f} GFLOP')
    return '\n'.join(lines)


def plot(figures: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Bars of the seconds by part, inference beside training."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    labels = [Path(name).stem for name in figures]  # a config is named by its path
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), sharey=True, layout='constrained')
    for axis, case in zip(axes, ('inference', 'training'), strict=True):
        starts = [0.0] * len(figures)
        for color, part in enumerate(('forward', 'results', 'matching', 'loss', 'backward')):
            seconds = [of_model[case]['parts'].get(part, 0.0) for of_model in figures.values()]
            axis.barh(labels, seconds, left=starts, label=part, color=f'C{color}')
            starts = [start + value for start, value in zip(starts, seconds, strict=True)]
        axis.set(title=case, xlabel='seconds')
    axes[0].invert_yaxis()  # shared: the first model on top
    figure.legend(*axes[0].get_legend_handles_labels(), loc='outside right center')
    figure.savefig(path)
    plt.close(figure)
