"""From images of all kinds of sources to result files, in several runs and processes if need be."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from mmmaskdino.datasets.files import DataError
from mmmaskdino.output_files import OutputFolder, check_pyarrow

from .drawing import check_side
from .journal import Head, Journal, stamp_of
from .prediction import Failure, Prediction
from .predictor import Predictor, check_batching, map_ahead
from .processes import get_dist_info, on_all, on_first
from .reading import STDIN, name_of, stored_size
from .records import FORMATS, CocoFile, record_of, write_parquet
from .sources import FOLDERS, SAVED, Found, ImageFile, Video, check_replaced, find_images, picture_name, result_folders
from .stores import StoredImage
from .writers import Job, PanopticWriter, PictureWriter, SemanticWriter, Writer

BATCHES_OF_A_BLOCK = 16  # images that are ordered by size together and go to one process
# What can be wrong with the name of one image; a full disk, say, would be so for the next one, too.
FAULTS_OF_A_NAME = {errno.EEXIST, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR}


class Summary(NamedTuple):
    """What became of the images."""

    num_done: int
    failures: list[Failure]
    """Images without results, with the reason."""
    others: list[str]
    """Files of the folder that are no images by their suffix."""
    num_empty: int = 0
    """Images of which the results say that nothing is there."""
    num_before: int = 0
    """Images and videos that an earlier run has done."""
    remarks: Sequence[str] = ()
    """What is noteworthy about images, of each process."""


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

    image: Path | str | StoredImage | np.ndarray
    file: ImageFile
    job: Job


class _Plan(NamedTuple):
    """What all processes have to know."""

    missing: list[ImageFile]
    is_one: bool
    run: int


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
    result_format: str = 'coco',
    workers: int = 2,
) -> Summary:
    """Predict for images and videos and write what is wanted.

    An image that cannot be read or predicted, or whose files cannot have its name, is reported at the end and stops
    nothing. Called again with the same settings, only what is missing is done: images that failed, were not reached,
    are new or have changed. The files for all images are put together from the journal at the end. In a group of
    processes (torch.distributed) each does its share, and the first one puts together.

    Args:
        predictor: The model.
        source: One or several of: an image, folder, video, pattern of names, archive, text file with names, address,
            `-`; or what `find_images` found.
        out: Folder of the results; nothing is written outside.
        save: Some of 'pictures', 'instances', 'panoptic', 'semantic'.
        draw: Results in the pictures, 'panoptic', 'instances' or 'semantic'; None for the first that is there.
        batch_size: Most images per forward pass; with more than one, images of like size go together.
        max_side: Longest side of a picture in pixels.
        on_progress: Called after each image with the number so far and that of all that this process has to do (0: not
            known).
        on_result: Called with what became of each image that this process has done.
        overwrite: Whether results of an earlier run may be replaced; all of them are made anew.
        result_format: 'coco' (JSON and PNG) or 'parquet' (one file, masks as RLE).
        workers: Threads that read the next images while the model works; with any, files of the last image are written
            meanwhile, too. 0 does one after another, in the least memory.

    Returns:
        What became of the images, of all processes together.

    Raises:
        DataError: There is nothing to predict.
        FileExistsError: Results of other settings or another image are there, and `overwrite` is not set; another run
            writes into the folder; or `out` is a file.
        ValueError: A result is wanted that the model does not give, or a number is out of range.
    """
    out = Path(out)
    check_batching(batch_size, workers)
    check_side(max_side)
    _check_kinds(predictor, save, draw, result_format)
    journal, num_before = Journal(out), 0
    found: Found | None = None
    rank, size = get_dist_info()
    with ExitStack() as stack:

        def plan() -> _Plan:
            nonlocal found, num_before
            found = source if isinstance(source, Found) else find_images(source, result_folders(out))
            check_replaced(found, out, save, overwrite)
            OutputFolder(out)
            stack.enter_context(journal.alone())
            settings = dict(
                predictor.settings(), save=sorted(save), draw=draw, picture_side=max_side, format=result_format
            )
            if result_format == 'coco' and set(save) & {'instances', 'panoptic'}:
                settings['images in'] = found.root and str(found.root)  # the names in the files are relative to it
            journal.open(settings, overwrite)
            own_files = set(save) & ({'pictures'} if result_format == 'parquet' else set(FOLDERS))
            missing = [file for file in found.files if _is_missing(journal, out, file, own_files)]
            num_before = len(found.files) - len(missing)
            return _Plan(missing, len(found.files) == 1, journal.next_run())

        shared = on_first(plan)
        work = _Work(predictor, journal, OutputFolder(out), save, draw, max_side, result_format)
        blocks = _blocks(shared.missing, batch_size)[rank::size]
        journal.start(f'{shared.run:06d}-{rank}')
        try:
            mine = work.do(blocks, batch_size, workers, on_progress, on_result, shared.is_one)
        except BaseException:
            if size == 1 and found:  # others may be at work still
                work.put_together(found)
            raise
        finally:
            work.close()
        everyone = on_all((*mine, predictor.remarks.lines()))
        if found:  # on the first process
            work.put_together(found)
        on_all(None)  # nobody says that it is done before the files are there
    num_done, failures, num_empty, remarks = (sum(parts, type(parts[0])()) for parts in zip(*everyone, strict=True))
    return Summary(num_done, failures, found.others if found else [], num_empty, num_before, remarks)


class _Work:
    """The share of one process, and the files for all images."""

    def __init__(
        self,
        predictor: Predictor,
        journal: Journal,
        folder: OutputFolder,
        save: Sequence[str],
        draw: str | None,
        max_side: int,
        result_format: str,
    ) -> None:
        self._predictor, self._journal, self._folder = predictor, journal, folder
        self._kinds = [kind for kind in SAVED[1:] if kind in save]
        self._classes = list(predictor.dataset_meta['classes'])
        self._is_parquet = result_format == 'parquet'
        # Otherwise label maps are files of their own.
        self._recorded = [kind for kind in self._kinds if self._is_parquet or kind != 'semantic']
        self._with_masks = self._kinds if self._is_parquet else ('instances',)
        self._fps: dict[str, float] = {}
        self._pictures = PictureWriter(folder, draw, max_side, self._fps) if 'pictures' in save else None
        self._writers: list[Writer] = [self._pictures] if self._pictures else []
        if not self._is_parquet and 'panoptic' in save:
            self._writers.append(PanopticWriter(folder))
        if not self._is_parquet and 'semantic' in save:
            self._writers.append(SemanticWriter(folder, len(self._classes)))
        self._failed_videos: set[str] = set()

    def do(
        self,
        blocks: list[list[ImageFile]],
        batch_size: int,
        workers: int,
        on_progress: Callable[[int, int], None] | None,
        on_result: Callable[[Outcome], None] | None,
        alone: bool,
    ) -> tuple[int, list[Failure], int]:
        """Number of images done, those that failed, and number of those with nothing in them."""
        failures: list[Failure] = []
        videos = self._open_videos(blocks, failures, alone)
        total = sum(file.name in videos or not file.is_video for block in blocks for file in block)
        total += sum(video.num_frames - 1 for video in videos.values())
        if not all(video.num_frames for video in videos.values()):
            total = 0
        num_done = num_empty = 0
        if batch_size == 1:
            blocks = [list(chain.from_iterable(blocks))]
        else:
            blocks = [sorted(block, key=_size) for block in blocks]
        results = (
            result
            for block in blocks
            for result in self._results(self._tasks(block, videos, failures, alone), batch_size, workers)
        )
        # One result at a time is written while the model works for the next.
        written = map_ahead(lambda pair: (pair[0], self._write(*pair)), results, min(workers, 1), 1)
        with closing(written):  # an interrupt must not leave a thread behind that goes on writing
            for number, (task, result) in enumerate(written, start=1):
                if isinstance(result, Failure):
                    failures.append(result)
                else:
                    num_done += 1
                    num_empty += result.is_empty
                if on_result:
                    job = task.job
                    picture = self._folder.path / picture_name(job.video or job.name, job.video is not None)
                    outcome = Outcome(job.file_name, result, picture if self._pictures else None, job.video is not None)
                    on_result(outcome)
                if on_progress:
                    on_progress(number, total)
        return num_done, failures, num_empty

    def close(self) -> None:
        """End the writing."""
        for writer in self._writers:
            writer.close()
        self._journal.close()

    def put_together(self, found: Found) -> None:
        """Write the files that all images share."""
        self._journal.reread()
        order = {file.name: number for number, file in enumerate(found.files)}
        if self._is_parquet:
            write_parquet(self._folder, self._kinds, ((head.name, body) for head, body in self._journal.results(order)))
            return
        if 'semantic' in self._kinds:
            with self._folder.replacing('semantic_classes.txt') as path:
                path.write_text('\n'.join(self._classes) + '\n', encoding='utf-8')
        images = None if any(file.is_video for file in found.files) else found.root
        for kind in set(self._kinds) & {'instances', 'panoptic'}:
            num_things = self._predictor.model.panoptic_head.num_things_classes if kind == 'panoptic' else 0
            file = CocoFile(self._folder, kind, self._classes, num_things, images)
            file.write((head.name, body) for head, body in self._journal.results(order) if not head.failed)

    def _open_videos(self, blocks: list[list[ImageFile]], failures: list[Failure], alone: bool) -> dict[str, Video]:
        """The videos by name; one that cannot be read ends nothing where there is more."""
        videos = {}
        for file in (file for block in blocks for file in block if file.is_video):
            try:
                videos[file.name] = Video(cast(Path, file.path), self._predictor.limits, file.name)
                self._fps[file.name] = videos[file.name].fps
            except DataError as error:
                if alone:
                    raise
                failures.append(self._note_failure(file, str(error)))
        return videos

    def _tasks(
        self, block: list[ImageFile], videos: dict[str, Video], failures: list[Failure], alone: bool
    ) -> Iterator[_Task]:
        for file in block:
            if not file.is_video:
                yield _Task(file.path, file, Job(file.file_name, file.name))
            elif file.name in videos:
                try:
                    yield from _frames(videos[file.name], file)
                except DataError as error:
                    if alone:
                        raise
                    failures.append(self._note_failure(file, str(error)))

    def _results(
        self, tasks: Iterator[_Task], batch_size: int, workers: int
    ) -> Iterator[tuple[_Task, Prediction | Failure]]:
        """Each image's names with its result; only the images of a batch and those read ahead are held."""
        waiting: list[_Task] = []

        def images() -> Iterator[tuple[str, Any]]:
            for task in tasks:
                waiting.append(task)
                is_frame = isinstance(task.image, np.ndarray)
                yield task.job.name if is_frame else name_of(task.image), task.image

        for result in self._predictor.predict(images(), batch_size, workers):
            yield waiting.pop(0), result

    def _write(self, task: _Task, result: Prediction | Failure) -> Prediction | Failure:
        """Write the results of one image and note it; the result, or why there is none."""
        job = task.job
        if not isinstance(result, Failure):
            try:
                for writer in self._writers:
                    writer.write(result, job)
                record = record_of(result, job.file_name, self._recorded, self._with_masks)
            except (DataError, OSError) as error:
                result = Failure(result.name, _reason_of_one(error))
        if job.is_last and self._pictures:
            try:
                self._pictures.end_video(task.file.name)
            except OSError as error:
                result = Failure(result.name, _reason_of_one(error))
        stamp = None if job.video else stamp_of(task.image)
        head = Head(job.name, _path_of(task.file), stamp, job.video, failed=isinstance(result, Failure))
        self._journal.add(head, _failure(job, result) if isinstance(result, Failure) else record)
        if job.video:
            self._end_frame(task, isinstance(result, Failure))
        return result

    def _end_frame(self, task: _Task, failed: bool) -> None:
        """Note a video of which all frames have results; another run tries one with a failed frame again."""
        if failed:
            self._failed_videos.add(task.file.name)
        if not task.job.is_last:
            return
        failed = task.file.name in self._failed_videos
        head = Head(task.file.name, _path_of(task.file), stamp_of(task.file.path), is_video=True, failed=failed)
        self._journal.add(head, {})

    def _note_failure(self, file: ImageFile, reason: str) -> Failure:
        head = Head(file.name, _path_of(file), stamp_of(file.path), is_video=True, failed=True)
        self._journal.add(head, {})
        return Failure(str(file.path), reason)


def _reason_of_one(error: DataError | OSError) -> str:
    """Why an image has no results, and the others have.

    Raises:
        OSError: The others would have none either.
    """
    if isinstance(error, DataError):
        return str(error)
    if error.errno not in FAULTS_OF_A_NAME:
        raise error
    return (
        f'its results cannot be written: {error.strerror} ({error.filename2 or error.filename}); give the image '
        'another name'
    )


def _failure(job: Job, failure: Failure) -> dict[str, Any]:
    return dict(file_name=job.file_name, error=failure.reason)


def _frames(video: Video, file: ImageFile) -> Iterator[_Task]:
    """The frames, of which the last one is known to be it."""
    before: _Task | None = None
    for name, frame in video.frames():
        if before:
            yield before
        before = _Task(frame, file, Job(name, name, file.name))
    if before:
        yield before._replace(job=before.job._replace(is_last=True))


def _is_missing(journal: Journal, out: Path, file: ImageFile, own_files: set[str]) -> bool:
    """Whether a run has to predict for an image or video; `own_files` are the results of which each image has a file.

    Raises:
        FileExistsError: Another image of this name has results.
    """
    head = journal.find(file.name)
    if head is None:
        return True
    stamp = stamp_of(file.path)
    is_same_place = _path_of(file) == head.path and file.path != STDIN
    if not is_same_place and (stamp is None or stamp != head.stamp):
        raise FileExistsError(
            f'{out} has results of another image of the name {file.name}: {head.path}, and now {_path_of(file)}. To '
            'replace all results, add --overwrite (overwrite=True); to keep both, choose another folder (--out)'
        )
    return stamp != head.stamp or not all(os.path.exists(out / name) for name in _names(file, own_files))


def _names(file: ImageFile, own_files: set[str]) -> Iterator[str]:
    """Of the files that an image has to itself; of a video its film, and not the maps of each frame."""
    for kind in sorted(own_files):
        if kind == 'pictures':
            yield picture_name(file.name, file.is_video)
        elif not file.is_video:
            yield f'{kind}/{file.name}.png'


def _path_of(file: ImageFile) -> str:
    return os.path.abspath(file.path) if isinstance(file.path, Path) else str(file.path)


def _size(file: ImageFile) -> tuple[int, int]:
    """Width and height, as far as a look at the file tells: images of one size make batches without padding."""
    try:
        return stored_size(file.path, file.name) if isinstance(file.path, Path) and not file.is_video else (0, 0)
    except DataError:
        return (0, 0)


def _blocks(files: list[ImageFile], batch_size: int) -> list[list[ImageFile]]:
    """What goes to the processes in turn.

    Batches do not cross the ends of blocks, so that an image is in the same batch however many processes there are.
    """
    if batch_size == 1:
        return [[file] for file in files]
    length = batch_size * BATCHES_OF_A_BLOCK
    images = [file for file in files if not file.is_video]
    blocks = [images[start : start + length] for start in range(0, len(images), length)]
    return blocks + [[file] for file in files if file.is_video]


def _check_kinds(predictor: Predictor, save: Sequence[str], draw: str | None, result_format: str) -> None:
    unknown = set(save) - set(SAVED)
    if unknown:
        raise ValueError(f'save takes {", ".join(SAVED)}; got {", ".join(sorted(unknown))}')
    missing = (set(save) - {'pictures'} | ({draw} if draw else set())) - set(predictor.kinds)
    if missing:
        raise ValueError(f'the model gives {" and ".join(predictor.kinds)}, no {" and ".join(sorted(missing))}')
    if result_format not in FORMATS:
        raise ValueError(f'the format of result files is {" or ".join(FORMATS)}, got {result_format}')
    if result_format == 'parquet' and not set(save) - {'pictures'}:
        raise ValueError('pictures are no part of a Parquet file; save instances, panoptic or semantic')
    if result_format == 'parquet':
        check_pyarrow()
