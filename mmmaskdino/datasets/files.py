"""Reading files so that a failure names the file."""

import io
import os
import warnings
from collections.abc import Iterable
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
