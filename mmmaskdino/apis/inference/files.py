"""From image files or a video to result files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmmaskdino.datasets.files import DataError
from mmmaskdino.evaluation.output_files import OutputFolder

from .predictor import Failure, Prediction, Predictor
from .sources import Video, find_images, is_video
from .writers import InstanceWriter, PanopticWriter, PictureWriter, SemanticWriter, VideoWriter, Writer

SAVED = ('pictures', 'instances', 'panoptic', 'semantic')


class Summary(NamedTuple):
    """What became of the images."""

    num_done: int
    failures: list[Failure]
    """Images without results, with the reason."""
    others: list[str]
    """Files of the folder that are no images by their suffix."""


class _Job(NamedTuple):
    """One image with the names of its files."""

    image: Path | np.ndarray
    file_name: str
    name: str


def predict_files(
    predictor: Predictor,
    source: str | Path,
    out: str | Path,
    save: Sequence[str] = ('pictures',),
    draw: str | None = None,
    batch_size: int = 1,
    max_side: int = 2048,
    on_progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Predict for an image, all images of a folder or a video, and write what is wanted.

    An image that cannot be read or predicted is reported at the end and stops nothing. Memory does not grow with the
    number of images or the length of the video.

    Args:
        predictor: The model.
        source: Image file, folder or video.
        out: Folder of the results; nothing is written outside.
        save: Some of 'pictures', 'instances', 'panoptic', 'semantic'.
        draw: Results in the pictures, 'panoptic', 'instances' or 'semantic'; None for the first that is there.
        batch_size: Images per forward pass.
        max_side: Longest side of a picture in pixels.
        on_progress: Called after each image with the number so far and that of all (0: not known).

    Returns:
        What became of the images.

    Raises:
        DataError: There is nothing to predict.
        ValueError: A result is wanted that the model does not give.
    """
    source, folder = Path(source), OutputFolder(Path(out))
    video = Video(source, predictor.limits) if is_video(source) else None
    if video is None:
        results = tuple((folder.path / name).resolve() for name in (*SAVED, '.'))
        files, others = find_images(source, results)
        jobs, total = (_Job(*file) for file in files), len(files)
    else:
        jobs, total, others = (_Job(frame, name, name) for name, frame in video.frames()), video.num_frames, []
    images = None if video else source if source.is_dir() else source.parent
    writers = _build_writers(predictor, folder, save, draw, max_side, video, images)
    failures: list[Failure] = []
    number = 0
    try:
        for number, (job, result) in enumerate(_results(predictor, jobs, batch_size), start=1):
            failure = _write(writers, job, result)
            if failure:
                failures.append(failure)
            if on_progress:
                on_progress(number, total)
    finally:
        for writer in writers:
            writer.close()
    return Summary(number - len(failures), failures, others)


def _results(
    predictor: Predictor, jobs: Iterator[_Job], batch_size: int
) -> Iterator[tuple[_Job, Prediction | Failure]]:
    """Each job with its result; only those of a batch are held."""
    waiting: list[_Job] = []

    def images() -> Iterator[tuple[str, Path | np.ndarray]]:
        for job in jobs:
            waiting.append(job)
            yield str(job.image) if isinstance(job.image, Path) else job.name, job.image

    for result in predictor.predict(images(), batch_size):
        yield waiting.pop(0), result


def _write(writers: list[Writer], job: _Job, result: Prediction | Failure) -> Failure | None:
    """Write the results of one image; None, or why there are none."""
    if isinstance(result, Failure):
        return result
    try:
        for writer in writers:
            writer.write(result, job.file_name, job.name)
    except DataError as error:
        return Failure(result.name, str(error))
    return None


def _build_writers(
    predictor: Predictor,
    folder: OutputFolder,
    save: Sequence[str],
    draw: str | None,
    max_side: int,
    video: Video | None,
    images: Path | None,
) -> list[Writer]:
    meta, kinds = predictor.dataset_meta, predictor.kinds
    missing = (set(save) - {'pictures'} | ({draw} if draw else set())) - set(kinds)
    if missing:
        raise ValueError(f'the model gives {" and ".join(kinds)}, no {" and ".join(sorted(missing))}')
    classes = list(meta['classes'])
    writers: list[Writer] = []
    if 'pictures' in save:
        if video is None:
            writers.append(PictureWriter(folder, predictor, draw, max_side))
        else:
            writers.append(VideoWriter(folder, predictor, draw, max_side, video.path.stem, video.fps))
    if 'instances' in save:
        writers.append(InstanceWriter(folder, classes, images))
    if 'panoptic' in save:
        writers.append(PanopticWriter(folder, classes, predictor.model.panoptic_head.num_things_classes, images))
    if 'semantic' in save:
        writers.append(SemanticWriter(folder, classes))
    return writers
