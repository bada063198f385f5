"""From image files, addresses and videos to result files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmmaskdino.datasets.files import DataError
from mmmaskdino.output_files import OutputFolder

from .prediction import Failure, Prediction
from .predictor import Predictor
from .reading import Limits, name_of
from .sources import SAVED, Found, Video, check_replaced, find_images, picture_name, result_folders
from .writers import InstanceWriter, Job, PanopticWriter, PictureWriter, SemanticWriter, Writer


class Summary(NamedTuple):
    """What became of the images."""

    num_done: int
    failures: list[Failure]
    """Images without results, with the reason."""
    others: list[str]
    """Files of the folder that are no images by their suffix."""
    num_empty: int = 0
    """Images of which the results say that nothing is there."""


class Outcome(NamedTuple):
    """What became of one image."""

    file_name: str
    result: Prediction | Failure
    picture: Path | None
    """Its picture, if one was written."""
    is_frame: bool
    """Whether it is a frame of a video."""


class _Task(NamedTuple):
    """An image and the names of its files."""

    image: Path | str | np.ndarray
    job: Job


def predict_files(
    predictor: Predictor,
    source: str | Path | Sequence[str | Path] | Found,
    out: str | Path,
    save: Sequence[str] = ('pictures',),
    draw: str | None = None,
    batch_size: int = 1,
    max_side: int = 2048,
    on_progress: Callable[[int, int], None] | None = None,
    on_result: Callable[[Outcome], None] | None = None,
    overwrite: bool = False,
) -> Summary:
    """Predict for images and videos and write what is wanted.

    An image that cannot be read or predicted is reported at the end and stops nothing. Memory does not grow with the
    number of images or the length of a video.

    Args:
        predictor: The model.
        source: One or several of: an image, folder, video, pattern of names, text file with names, address, `-`; or
            what `find_images` found.
        out: Folder of the results; nothing is written outside.
        save: Some of 'pictures', 'instances', 'panoptic', 'semantic'.
        draw: Results in the pictures, 'panoptic', 'instances' or 'semantic'; None for the first that is there.
        batch_size: Images per forward pass.
        max_side: Longest side of a picture in pixels.
        on_progress: Called after each image with the number so far and that of all (0: not known).
        on_result: Called with what became of each image.
        overwrite: Whether results of an earlier run may be replaced.

    Returns:
        What became of the images.

    Raises:
        DataError: There is nothing to predict.
        FileExistsError: A file to be written is there and `overwrite` is not set, or `out` is a file.
        ValueError: A result is wanted that the model does not give.
    """
    out = Path(out)
    found = source if isinstance(source, Found) else find_images(source, result_folders(out))
    _check_kinds(predictor, save, draw)
    check_replaced(found, out, save, overwrite)
    failures: list[Failure] = []
    videos = _open_videos(found, predictor.limits, failures)
    folder = OutputFolder(out)
    writers = _build_writers(predictor, folder, save, draw, max_side, videos, found.root)
    total = sum(not file.is_video for file in found.files) + sum(video.num_frames for video in videos.values())
    if not all(video.num_frames for video in videos.values()):
        total = 0
    num_done = num_empty = 0
    tasks = _tasks(found, videos, failures)
    try:
        for number, (job, result) in enumerate(_results(predictor, tasks, batch_size), start=1):
            result = _write(writers, job, result)
            if isinstance(result, Failure):
                failures.append(result)
            else:
                num_done += 1
                num_empty += result.is_empty
            if on_result:
                picture = folder.path / picture_name(job.video or job.name, job.video is not None)
                on_result(
                    Outcome(job.file_name, result, picture if 'pictures' in save else None, job.video is not None)
                )
            if on_progress:
                on_progress(number, total)
    finally:
        for writer in writers:
            writer.close()
    return Summary(num_done, failures, found.others, num_empty)


def _open_videos(found: Found, limits: Limits, failures: list[Failure]) -> dict[str, Video]:
    """The videos by name; one that cannot be read ends nothing where there is more."""
    videos = {}
    for file in found.files:
        try:
            if file.is_video:
                videos[file.name] = Video(file.path, limits, file.name)
        except DataError as error:
            if len(found.files) == 1:
                raise
            failures.append(Failure(str(file.path), str(error)))
    return videos


def _tasks(found: Found, videos: dict[str, Video], failures: list[Failure]) -> Iterator[_Task]:
    for file in found.files:
        if not file.is_video:
            yield _Task(file.path, Job(file.file_name, file.name))
        elif file.name in videos:
            try:
                for name, frame in videos[file.name].frames():
                    yield _Task(frame, Job(name, name, file.name))
            except DataError as error:
                if len(found.files) == 1:
                    raise
                failures.append(Failure(str(file.path), str(error)))


def _results(
    predictor: Predictor, tasks: Iterator[_Task], batch_size: int
) -> Iterator[tuple[Job, Prediction | Failure]]:
    """Each image's names with its result; only the images of a batch are held."""
    waiting: list[Job] = []

    def images() -> Iterator[tuple[str, Path | str | np.ndarray]]:
        for image, job in tasks:
            waiting.append(job)
            yield job.name if isinstance(image, np.ndarray) else name_of(image), image

    for result in predictor.predict(images(), batch_size):
        yield waiting.pop(0), result


def _write(writers: list[Writer], job: Job, result: Prediction | Failure) -> Prediction | Failure:
    """Write the results of one image; the result, or why there is none."""
    if isinstance(result, Failure):
        return result
    try:
        for writer in writers:
            writer.write(result, job)
    except DataError as error:
        return Failure(result.name, str(error))
    return result


def _check_kinds(predictor: Predictor, save: Sequence[str], draw: str | None) -> None:
    unknown = set(save) - set(SAVED)
    if unknown:
        raise ValueError(f'save takes {", ".join(SAVED)}; got {", ".join(sorted(unknown))}')
    missing = (set(save) - {'pictures'} | ({draw} if draw else set())) - set(predictor.kinds)
    if missing:
        raise ValueError(f'the model gives {" and ".join(predictor.kinds)}, no {" and ".join(sorted(missing))}')


def _build_writers(
    predictor: Predictor,
    folder: OutputFolder,
    save: Sequence[str],
    draw: str | None,
    max_side: int,
    videos: dict[str, Video],
    root: Path | None,
) -> list[Writer]:
    classes = list(predictor.dataset_meta['classes'])
    writers: list[Writer] = []
    if 'pictures' in save:
        writers.append(PictureWriter(folder, draw, max_side, {name: video.fps for name, video in videos.items()}))
    images = None if videos else root
    if 'instances' in save:
        writers.append(InstanceWriter(folder, classes, images))
    if 'panoptic' in save:
        writers.append(PanopticWriter(folder, classes, predictor.model.panoptic_head.num_things_classes, images))
    if 'semantic' in save:
        writers.append(SemanticWriter(folder, classes))
    return writers
