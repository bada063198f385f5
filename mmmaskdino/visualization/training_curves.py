"""Curves of a training from mmengine's log."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Curve = tuple[list[float], list[float]]
NOT_DRAWN = ('epoch', 'iter', 'step', 'time', 'data_time', 'base_lr')
METRICS = '(mAP|PQ|mIoU)$'
NUM_COLUMNS = 3


def read_scalars(path: str | Path) -> dict[str, Curve]:
    """Numbers that mmengine has logged.

    mmdet's ``analyze_logs.py`` groups them by epoch, which trainings by iterations do not have.

    Args:
        path (str | Path): ``scalars.json``, or a work dir, of which the last run counts.

    Returns:
        dict[str, Curve]: By name, the iterations and the values.

    Raises:
        FileNotFoundError: If there is no log.
        ValueError: If a line of it is none of a log, or it has no numbers.
    """
    curves: dict[str, Curve] = defaultdict(lambda: ([], []))
    file, last = _find(Path(path)), None
    for number, line in enumerate(file.read_text(encoding='utf-8').splitlines(), start=1):
        try:
            record = json.loads(line)
            # Metrics may carry the epoch, 0 in a training by iterations; they belong to the iterations before them.
            own_step = record['step']
            step = last = record.get('iter', own_step if last is None else last)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{file}, line {number}: expected a record of mmengine's log, got {line[:80]!r}"
            ) from error
        for name, value in record.items():
            if isinstance(value, (int, float)):
                curves[name][0].append(step)
                curves[name][1].append(value)
    if not curves:
        raise ValueError(f'{file} has no numbers')
    return dict(curves)


def draw_curves(runs: Mapping[str, Mapping[str, Curve]], metrics: str = METRICS) -> Figure:
    """The total loss, the last layer's losses, the learning rate and the metrics, in a panel each.

    Args:
        runs (Mapping): Curves by name, of one or several runs by their names.
        metrics (str): Regular expression that names of metrics contain; where none does, all are drawn.

    Returns:
        Figure: To be saved.
    """
    names = _wanted({name for curves in runs.values() for name in curves}, metrics)
    columns = min(len(names), NUM_COLUMNS)
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(4.2 * columns, 2.8 * rows + 0.4), dpi=110, layout='constrained')
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    for panel, name in zip(panels, names, strict=False):
        panel.set_title(name, fontsize=9)
        panel.grid(alpha=0.3)
        for run, curves in runs.items():
            _plot(panel, curves.get(name, ([], [])), run, is_metric='/' in name)
    if len(runs) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc='outside lower center', ncols=len(labels), fontsize=9)
    return figure


def _plot(panel: Axes, curve: Curve, label: str, is_metric: bool) -> None:
    steps, values = curve
    marker = 'o' if is_metric or len(steps) == 1 else None
    panel.plot(steps, values, label=label, linewidth=1, marker=marker, markersize=3)


def _wanted(names: set[str], metrics: str) -> list[str]:
    """Total loss, learning rate and gradient norm, the losses of the last layer, metrics; not those of other layers."""
    all_metrics = sorted(name for name in names if '/' in name)
    some_metrics = [name for name in all_metrics if re.search(metrics, name)]
    losses = sorted(name for name in names if name.startswith('loss_'))
    first = [name for name in ('loss', 'lr', 'grad_norm') if name in names]
    return [*first, *losses, *(some_metrics or all_metrics)] or sorted(names - set(NOT_DRAWN))


def _find(path: Path) -> Path:
    if path.is_dir():
        found = sorted(path.glob('**/vis_data/scalars.json'))
        if not found:
            raise FileNotFoundError(f'{path}: no vis_data/scalars.json in this folder; is it a work dir of a training?')
        return found[-1]
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such file or folder')
    return path
