"""Figures of trainings that are compared: where they are kept, and how they are shown."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from mmmaskdino.logged_results import in_percent, read_logged
from mmmaskdino.output_files import OutputFolder

METRICS = ('PQ', 'mask AP', 'box AP', 'mIoU')  # the one that decides first


class Run(NamedTuple):
    """One training."""

    model: str
    iterations: int
    rate: float
    seed: int

    @property
    def folder(self) -> Path:
        """Where it is, below the folder of the series."""
        return Path(
            self.model.replace(' ', '-'), f'{self.iterations}-iterations_rate-{self.rate:g}', f'seed_{self.seed}'
        )


class Figures(NamedTuple):
    """What a training reached."""

    seconds: float
    """Of a training step, the median of the log's windows."""
    curves: dict[str, list[list[float]]]
    """By metric, the iterations and the values in per cent."""

    def final(self, metric: str) -> float | None:
        """The last value of a metric."""
        return self.curves[metric][1][-1] if metric in self.curves else None

    def best_first(self) -> float:
        """The metric that decides, of those that were evaluated."""
        return next(value for metric in METRICS if (value := self.final(metric)) is not None)


def read_figures(work_dir: Path, iterations: int) -> Figures | None:
    """Figures from the logs of a work dir; None where the evaluation after that many iterations is missing."""
    curves: dict[str, dict[int, float]] = {metric: {} for metric in METRICS}
    seconds, step = {}, 0
    for entry in read_logged(work_dir):
        if 'loss' in entry:
            step = entry['step']
            seconds[step] = entry['time']
        for metric, value in in_percent(entry).items():
            # Its own step, after the last logged one of the training; where metrics count epochs, it is before.
            curves[metric][max(step, entry['step'])] = value
    if not any(iterations in curve for curve in curves.values()):
        return None
    kept = {metric: [[*curve], [*curve.values()]] for metric, curve in curves.items() if curve}
    return Figures(statistics.median(seconds.values()), kept)


class Records:
    """Figures of finished trainings, in a file that grows with each.

    Args:
        path: JSON file; it is written anew, whole, with each training.
        makings: By model, what :func:`making` tells of its trainings.

    Raises:
        ValueError: The file is of trainings of another config of that name, or with other options.
    """

    def __init__(self, path: Path, makings: Mapping[str, str]) -> None:
        self._path, self._lock, self._makings = path, Lock(), dict(makings)
        entries: list[dict[str, Any]] = json.loads(path.read_text(encoding='utf-8')) if path.is_file() else []
        for entry in entries:
            check_making(path, entry.get('making'), self._makings.setdefault(entry['model'], entry.get('making')))
        self._figures = {
            Run(*(entry[key] for key in Run._fields)): Figures(*(entry[key] for key in Figures._fields))
            for entry in entries
        }

    def __getitem__(self, run: Run) -> Figures:
        return self._figures[run]

    def __contains__(self, run: Run) -> bool:
        return run in self._figures

    def add(self, run: Run, figures: Figures) -> None:
        """Keep the figures of a training; from any thread."""
        with self._lock:
            self._figures[run] = figures
            lines = [
                json.dumps(key._asdict() | value._asdict() | dict(making=self._makings[key.model]))
                for key, value in self._figures.items()
            ]
            with OutputFolder(self._path.parent).replacing(self._path.name) as part:
                part.write_text('[\n' + ',\n'.join(lines) + '\n]\n', encoding='utf-8')


def making(cfg: Mapping[str, Any], options: Sequence[str]) -> str:
    """What a training is made of, in short: model, data and schedule, and options.

    Figures are kept by a model's name, which may come to mean another config, a peer of other data, or one that was
    edited. They may come from another machine, so of paths the last part alone counts.
    """
    parts = ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'train_dataloader', 'val_evaluator')
    text = json.dumps([_without_places(cfg.get(part)) for part in parts], sort_keys=True, default=str)
    return ' '.join([hashlib.sha256(text.encode()).hexdigest()[:12], *options])


def _without_places(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_places(value[key]) for key in value}
    if isinstance(value, (list, tuple)):
        return [_without_places(entry) for entry in value]
    return Path(value).name if isinstance(value, str) and '/' in value else value


def check_making(place: Path, found: str | None, expected: str | None) -> None:
    """Raise where trainings are not made as they are now.

    Raises:
        ValueError: They are of another config of the same name, or with other options.
    """
    if found != expected:
        raise ValueError(
            f'{place} is of trainings with another config or other --cfg-options: {found or "unknown"}, now '
            f'{expected}; give another --work-dir'
        )


def format_runs(values: Sequence[float]) -> str:
    """Mean and standard deviation, and the single runs."""
    runs = ', '.join(f'{value:.1f}' for value in values)
    if len(values) == 1:
        return runs
    return f'{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f} ({runs})'


def format_results(records: Records, runs: Iterable[Run]) -> str:
    """A table in Markdown, a row for each model, rate and length; metrics that no run has are left out."""
    rows, used = _by_model(records, runs)
    lines = [['model', 'iterations', 'rate', 's a step', *used], ['---'] * (4 + len(used))]
    for (model, iterations, rate), row in rows.items():
        finals = [[run.final(metric) for run in row] for metric in used]
        cells = ['' if None in values else format_runs(values) for values in finals]
        lines.append([model, iterations, f'{rate:g}', f'{_seconds(row):.2f}', *cells])
    return '\n'.join(f'| {" | ".join(map(str, line))} |' for line in lines)


def draw_series(records: Records, runs: Iterable[Run]) -> Figure:
    """Each metric by iterations and by minutes of training: the mean of the seeds, and from the least to the most."""
    rows, used = _by_model(records, runs)
    figure = Figure(figsize=(9, 3 * len(used)), layout='constrained')
    panels = figure.subplots(len(used), 2, squeeze=False, sharey='row')
    lines = {}  # by label
    for metric, (by_steps, by_time) in zip(used, panels, strict=True):
        for number, ((model, iterations, rate), row) in enumerate(rows.items()):
            if any(metric not in run.curves for run in row):
                continue
            of_seeds = [dict(zip(*run.curves[metric], strict=True)) for run in row]
            steps = np.array(sorted(set.intersection(*map(set, of_seeds))))  # a run that failed may lack some
            values = np.array([[curve[step] for step in steps] for curve in of_seeds])
            label = f'{model}, {iterations} steps, rate {rate:g}'
            for panel, x in ((by_steps, steps), (by_time, steps * _seconds(row) / 60)):
                color = f'C{number}'  # the same in all panels; some models have not all metrics
                panel.plot(x, values.mean(0), marker='.', label=label, color=color)
                panel.fill_between(x, values.min(0), values.max(0), color=color, alpha=0.2, linewidth=0)
                lines[label] = panel.lines[-1]
        by_steps.set(ylabel=f'{metric}, %', xlabel='training steps')
        by_time.set(xlabel='minutes of training')
    panels[0, 0].legend(lines.values(), lines, fontsize='small')
    return figure


def _by_model(records: Records, runs: Iterable[Run]) -> tuple[dict[tuple, list[Figures]], list[str]]:
    """Figures of the seeds by model, length and rate, and the metrics that there are."""
    rows: dict[tuple, list[Figures]] = defaultdict(list)
    for run in runs:
        rows[run[:3]].append(records[run])
    return rows, [metric for metric in METRICS if any(metric in run.curves for row in rows.values() for run in row)]


def _seconds(row: Sequence[Figures]) -> float:
    return statistics.median(run.seconds for run in row)
