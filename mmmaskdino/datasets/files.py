"""Reading files so that a failure names the file, and walking through folders of data."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from mmengine import fileio
from PIL import Image, UnidentifiedImageError

MAX_PIXELS = 100_000_000


class DataError(ValueError):
    """Data that cannot be trained on or evaluated: the message names the file, what is wrong and how to fix it."""


def read_file(path: str, backend_args: dict[str, Any] | None = None) -> bytes:
    """Read a whole file through mmengine's file backends.

    Args:
        path: File path or URI.
        backend_args: Arguments of mmengine's file backend; None means it is chosen by the path.

    Returns:
        The content, at least one byte.

    Raises:
        DataError: The file is missing, unreadable or empty.
    """
    try:
        content = fileio.get(path, backend_args=backend_args)
    except Exception as error:  # every backend has its own exceptions; the file's name must reach the user
        raise DataError(f'{path}: the file cannot be read ({type(error).__name__}: {error})') from error
    if not content:
        raise DataError(f'{path}: the file is empty (0 bytes); restore it, or remove its entry from the annotations')
    return content


def find_missing_files(paths: Iterable[str], backend_args: dict[str, Any] | None = None) -> list[str]:
    """Find the paths at which no file is, by listing each folder once instead of asking for each file.

    Args:
        paths: File paths; many share a folder.
        backend_args: Arguments of mmengine's file backend. Only local files are looked for: asking an object store
            for 118,000 names would take longer than the error would save.

    Returns:
        The missing ones in the given order; empty for other backends than the local one.
    """
    paths = list(paths)
    if not paths or not isinstance(fileio.get_file_backend(paths[0], backend_args=backend_args), fileio.LocalBackend):
        return []
    listings: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listings:
            listings[folder] = set(os.listdir(folder or '.')) if os.path.isdir(folder or '.') else set()
        # Some file systems list a name in another Unicode form or case than it can be opened by, so ask once more.
        if name not in listings[folder] and not os.path.isfile(path):
            missing.append(path)
    return missing


def check_num_pixels(content: bytes, path: str, max_pixels: int = MAX_PIXELS) -> None:
    """Reject an image that would fill the memory when decoded; a file of a few kilobytes can.

    Args:
        content: The file; only its head is read. Of a format that Pillow does not know, the size is not known.
        path: Its name, for the message.
        max_pixels: Limit of width times height.

    Raises:
        DataError: The image is larger.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                width, height = image.size
    except Image.DecompressionBombError as error:
        if max_pixels > 2 * Image.MAX_IMAGE_PIXELS:  # where Pillow raises instead of warning; more was asked for
            return
        raise DataError(f'{path}: {error}') from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return  # whoever decodes it says what is wrong
    if width * height > max_pixels:
        raise DataError(
            f'{path}: the image has {width} x {height} pixels, expected at most {max_pixels} in all; cut it into '
            'tiles, or allow more with max_pixels of LoadImageFromFile'
        )


# What systems and programs leave in folders, beside all that begins with a dot.
LEFTOVERS = {
    '__macosx',
    '__pycache__',
    '@eadir',
    '$recycle.bin',
    'desktop.ini',
    'ehthumbs.db',
    'icon\r',
    'lost+found',
    'thumbs.db',
}
IMAGE_SUFFIXES = {'.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'}


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is no part of a dataset: hidden, or left by a system."""
    return name.startswith('.') or name.lower() in LEFTOVERS


def walk(
    root: Path, max_depth: int | None = None, left_out: Collection[Path] = (), skip_locked: bool = False
) -> Iterator[tuple[Path, list[str]]]:
    """Walk through a folder and those below it, without leftovers.

    Links to folders are followed. Each real folder is entered once, so that a link to a folder above ends nothing; one
    that lies there itself goes before a link to it.

    Args:
        root: The folder.
        max_depth: How many levels below it are entered; None for all.
        left_out: Real paths of folders that are not entered.
        skip_locked: Whether folders that may not be read are passed over.

    Raises:
        PermissionError: A folder may not be read.

    Yields:
        Each folder, the given one first, and the names of its files, sorted.
    """
    seen = {os.path.realpath(path) for path in left_out} - {os.path.realpath(root)}

    def enter(folder: Path, depth: int) -> Iterator[tuple[Path, list[str]]]:
        real = os.path.realpath(folder)
        if real in seen:
            return
        seen.add(real)
        try:
            with os.scandir(folder) as found:
                entries = sorted(
                    (entry for entry in found if not is_leftover(entry.name)), key=lambda entry: entry.name
                )
        except PermissionError:
            if skip_locked:
                return
            raise
        # A link that leads nowhere is named, too: whoever reads it says so.
        yield folder, [entry.name for entry in entries if entry.is_file() or not os.path.exists(entry.path)]
        if depth == max_depth:
            return
        for linked in (False, True):
            for entry in entries:
                if entry.is_dir() and entry.is_symlink() == linked:
                    yield from enter(folder / entry.name, depth + 1)

    yield from enter(root, 0)


def list_files(root: Path, suffix: str) -> list[str]:
    """Names of the files of a folder and those below it that end with a suffix, relative to it, sorted."""
    return sorted(
        (folder / name).relative_to(root).as_posix()
        for folder, names in walk(root)
        for name in names
        if name.endswith(suffix)
    )
