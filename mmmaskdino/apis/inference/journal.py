"""What a folder of results has already: one line for each finished image, and the settings of all of them. No torch.

A line is appended in one write when all files of its image are complete, by each process to a file of its own, and has
a checksum: whatever ends a process, or a machine, the lines before stay valid, and the image of an incomplete one
counts as missing.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from filelock import FileLock, Timeout

from mmmaskdino.datasets.files import DataError

FOLDER = '.journal'
_SETTINGS = 'settings.json'
MOST_OPEN = 100  # files at a time; a system allows some thousand at most
_TO_GO_ON = (
    'The same settings go on with what is missing; to replace all results, add --overwrite (overwrite=True); to keep '
    'both, choose another folder (--out)'
)


class Head(NamedTuple):
    """What is known of a finished image or video without reading its results."""

    name: str
    """Of its result files."""
    path: str
    """Of the image, or its address."""
    stamp: list[int] | None
    """Size and time of change of the file; None for what is no local file."""
    video: str | None = None
    """Name of the video that it is a frame of."""
    is_video: bool = False
    """Whether this is the end of a video, after its frames."""
    failed: bool = False
    """Whether there are no results, but the reason."""


class _Place(NamedTuple):
    """Of a line."""

    file: int
    offset: int
    head: Head


def saved_before(out: Path) -> list[str]:
    """The results that earlier runs were to save, and so own the files of; none without a journal.

    Raises:
        DataError: The journal is damaged.
    """
    path = out / FOLDER / _SETTINGS
    return _read_settings(path).get('save', []) if path.is_file() else []


def stamp_of(path: Path | Any) -> list[int] | None:
    """Size (bytes) and time of change (ns) of a local file; None for anything else."""
    try:
        status = os.stat(path) if isinstance(path, Path) else None
    except OSError:
        return None
    return status and [status.st_size, status.st_mtime_ns]


class Journal:
    """The journal of a folder of results.

    Args:
        out: The folder.
    """

    def __init__(self, out: Path) -> None:
        self._out, self._folder = out, out / FOLDER
        self._files: list[Path] = []
        self._places: dict[str, _Place] = {}
        self._name = ''
        self._log: BinaryIO | None = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs out of the folder.

        Raises:
            FileExistsError: One is at work.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._folder / 'lock')
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise FileExistsError(
                f'another run is writing into {self._out}; wait for its end, or choose another folder (--out)'
            ) from error
        try:
            yield
        finally:
            lock.release()

    def open(self, settings: Mapping[str, Any], overwrite: bool) -> None:
        """Begin, or go on with the results that are there; failures alone are none.

        Args:
            settings: What the results depend on, by names that people know.
            overwrite: Whether to begin anew in any case.

        Raises:
            FileExistsError: The results that are there were made with other settings.
        """
        path = self._folder / _SETTINGS
        settings = json.loads(json.dumps(settings, default=str))
        if not overwrite:
            self._read()
            if path.is_file() and any(not place.head.failed for place in self._places.values()):
                _compare(self._out, _read_settings(path), settings)
                return
        path.unlink(missing_ok=True)  # first: without it the rest counts for nothing
        for file in self._folder.glob('*.jsonl'):
            file.unlink()
        partial = path.with_suffix('.partial')
        partial.write_text(json.dumps(settings, indent=1), encoding='utf-8')
        os.replace(partial, path)
        self._read()

    def next_run(self) -> int:
        """Number of the run that begins now."""
        return 1 + max((int(file.name.partition('-')[0]) for file in self._folder.glob('*-*.jsonl')), default=0)

    def start(self, name: str) -> None:
        """Begin to write.

        Args:
            name: Number of the run, as of :meth:`next_run`, and of the process, which makes a file of its own.
        """
        self._name = name

    def add(self, head: Head, body: Mapping[str, Any]) -> None:
        """Note that an image or video is finished; all its files must be complete.

        Args:
            head: What is looked up later.
            body: Its results.
        """
        if self._log is None:
            self._log = (self._folder / f'{self._name}.jsonl').open('ab', buffering=0)
        line = f'{json.dumps(head)}\t{json.dumps(body)}'.encode()
        self._log.write(b'%08x %b\n' % (zlib.crc32(line), line))

    def close(self) -> None:
        """End the writing."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def find(self, name: str) -> Head | None:
        """What is known of an image or video (by the name of its results), if it has results."""
        place = self._places.get(name)
        return None if place is None or place.head.failed else place.head

    def reread(self) -> None:
        """Take in what this and other processes have written since."""
        self._read()

    def results(self, order: Mapping[str, int]) -> Iterator[tuple[Head, dict[str, Any]]]:
        """All images, one at a time: the given ones first and in their order, then others by name.

        Args:
            order: Place of images and videos by name.

        Yields:
            tuple: What :meth:`add` got. Ends of videos are left out.
        """
        last = len(order)
        keys = [
            (order.get(place.head.video or name, last), name)
            for name, place in self._places.items()
            if not place.head.is_video
        ]
        keys.sort()
        opened: dict[int, BinaryIO] = {}
        try:
            for _, name in keys:
                number, offset, head = self._places[name]
                if number not in opened:
                    if len(opened) >= MOST_OPEN:
                        opened.pop(next(iter(opened))).close()
                    opened[number] = self._files[number].open('rb')
                opened[number].seek(offset)
                yield head, json.loads(opened[number].readline().partition(b'\t')[2])
        finally:
            for file in opened.values():
                file.close()

    def _read(self) -> None:
        """The place of the last valid line of each image."""
        self._files = sorted(self._folder.glob('*-*.jsonl'))
        self._places = {}
        for number, path in enumerate(self._files):
            offset = 0
            with open(path, 'rb') as file:
                for line in file:
                    head = _valid_head(line)
                    if head is not None and not (head.failed and self.find(head.name)):
                        self._places[head.name] = _Place(number, offset, head)
                    offset += len(line)


def _valid_head(line: bytes) -> Head | None:
    """None for a line that is not complete."""
    checksum, _, rest = line.rstrip(b'\n').partition(b' ')
    if not line.endswith(b'\n') or checksum != b'%08x' % zlib.crc32(rest):
        return None
    return Head(*json.loads(rest.partition(b'\t')[0]))


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, OSError) as error:
        raise DataError(f'{path} cannot be read ({error}). {_TO_GO_ON}') from error


def _compare(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if names:
        # What only one of them has follows from another change, such as that of the files that are saved.
        names = [name for name in names if name in before and name in now] or names
        changes = '; '.join(f'{name} was {_shown(before.get(name))}, is {_shown(now.get(name))}' for name in names)
        raise FileExistsError(f'{out} has results of other settings: {changes}. {_TO_GO_ON}')


def _shown(value: Any) -> str:
    return ' '.join(map(str, value)) if isinstance(value, list) else str(value)
