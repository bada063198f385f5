"""How fast images are predicted, in several ways that take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from mmdet.apis import DetInferencer
from mmengine.config import Config

from mmmaskdino.apis.inference import Outcome, Predictor, predict_files

from .stopwatch import Stopwatch

DET_INFERENCER = 'DetInferencer of mmdet'
# What the seconds of the main thread are spent on: waiting for images, the network, its results at the size of the
# image. The rest is writing, or waiting for it, and the files for all images.
PARTS = ('images', 'model', 'results')


class Run(NamedTuple):
    """All images, once."""

    seconds: float
    cpu_seconds: float
    """Of all threads of the process."""
    num_objects: int
    """Instances found."""
    parts: dict[str, float]
    """Seconds by part, those of :data:`PARTS` and `rest`."""


# Predicts for all images and writes into a folder; gives the number of instances.
Work = Callable[[Path], int]
Way = Callable[[Path], Run]


class PredictCommand:
    """`mmmaskdino predict` for some images.

    Args:
        predictor: The model; watched from now on.
        images: Files.
        save: As of `predict_files`.
    """

    def __init__(self, predictor: Predictor, images: Sequence[Path], save: Sequence[str]) -> None:
        self.predictor, self._images, self._save = predictor, images, save
        self._stopwatch = Stopwatch()
        self._stopwatch.watch_parts(predictor.model)
        self._stopwatch.watch(predictor, '_predict', 'model')
        self._stopwatch.watch_items(predictor, 'predict', 'images')

    def run(self, out: Path, workers: int = 0, batch_size: int = 1) -> Run:
        """Predict for all images.

        Args:
            out: Empty folder for the results.
            workers: As of `predict_files`.
            batch_size: As there.

        Raises:
            ValueError: An image has no results.
        """

        def work() -> int:
            counts: list[int] = []

            def count(outcome: Outcome) -> None:
                counts.append(len(getattr(outcome.result, 'sample', {}).get('pred_instances', ())))

            options = dict(save=self._save, workers=workers, batch_size=batch_size, on_result=count)
            summary = predict_files(self.predictor, self._images, out, **options)
            if summary.failures:
                raise ValueError(f'expected results of each image, and there are none of {summary.failures[0]}')
            return sum(counts)

        return timed(work, self._stopwatch)


class InferencerCommand:
    """mmdet's `DetInferencer` for some images.

    Args:
        cfg: The config, with the thresholds that the others have.
        weights: Checkpoint file.
        device: Where to put the model.
        images: Files.
        save: Some of 'pictures' and the results, which are one file for each image.
    """

    def __init__(self, cfg: Config, weights: str, device: str, images: Sequence[Path], save: Sequence[str]) -> None:
        self._inferencer = DetInferencer(cfg, weights, device, show_progress=False)
        self._images, self._save = [str(image) for image in images], set(save)
        self._stopwatch = Stopwatch()
        self._stopwatch.watch_parts(self._inferencer.model)
        self._stopwatch.watch(self._inferencer, 'forward', 'model')
        self._stopwatch.watch_items(self._inferencer, 'preprocess', 'images')

    def run(self, out: Path) -> Run:
        """Predict for all images.

        Args:
            out: Empty folder for the results.
        """

        def work() -> int:
            no_pictures, no_results = 'pictures' not in self._save, not self._save - {'pictures'}
            found = self._inferencer(self._images, out_dir=str(out), no_save_vis=no_pictures, no_save_pred=no_results)
            return sum(len(result.get('labels', ())) for result in found['predictions'])

        return timed(work, self._stopwatch)


def timed(work: Callable[[], int], stopwatch: Stopwatch) -> Run:
    """Do something whose parts a stopwatch watches."""
    stopwatch.take()
    start, cpu_start = time.perf_counter(), time.process_time()
    num_objects = work()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    watched = stopwatch.take()
    parts = {part: watched.get(part, 0.0) for part in PARTS}
    return Run(seconds, cpu_seconds, num_objects, dict(parts, rest=seconds - sum(parts.values())))


def take_turns(ways: Mapping[str, Way], rounds: int) -> dict[str, list[Run]]:
    """The runs of each way; the first one is to warm up.

    What slows the machine down for a while slows all ways down, so their ratios hold.
    """
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            with TemporaryDirectory() as out:
                runs[name].append(way(Path(out)))
    return runs


def summarize(runs: Mapping[str, Sequence[Run]], num_images: int) -> dict[str, dict[str, Any]]:
    """Medians by way, the first run of each left out.

    Args:
        runs: By way, as of :func:`take_turns`.
        num_images: That each run predicts for.

    Returns:
        `images_per_second`; `ratio`, to `DetInferencer` in the same round; `least` and `most` of the ratio; seconds for
        an image: `cpu_seconds` and `parts`; `objects` of an image; `first_seconds`, of the first run.
    """
    return {name: _summary(of_way, runs[DET_INFERENCER], num_images) for name, of_way in runs.items()}


def _summary(runs: Sequence[Run], reference: Sequence[Run], num_images: int) -> dict[str, Any]:
    first, *counted = runs
    ratios = [theirs.seconds / run.seconds for run, theirs in zip(counted, reference[1:], strict=True)]
    return dict(
        images_per_second=median(num_images / run.seconds for run in counted),
        ratio=median(ratios),
        least=min(ratios),
        most=max(ratios),
        cpu_seconds=median(run.cpu_seconds for run in counted) / num_images,
        parts={part: median(run.parts[part] for run in counted) / num_images for part in first.parts},
        objects=first.num_objects / num_images,
        first_seconds=first.seconds,
    )


def format_table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures of :func:`summarize` as a table of Markdown."""
    lines = [
        '| | images per second | beside `DetInferencer` | CPU time of an image | waits for images | network | results '
        '| rest | objects | first round |',
        f'|{"---|" * 10}',
    ]
    for name, figure in figures.items():
        ratio = f'{figure["ratio"]:.2f} ({figure["least"]:.2f} to {figure["most"]:.2f})'
        seconds = [figure['cpu_seconds'], *figure['parts'].values()]
        times = ' | '.join(f'{1000 * value:.0f} ms' for value in seconds)
        rest = f'{figure["objects"]:.1f} | {figure["first_seconds"]:.1f} s'
        lines.append(f'| {name} | {figure["images_per_second"]:.2f} | {ratio} | {times} | {rest} |')
    return '\n'.join(lines)
