"""Walking through folders of data: what other programs left there is no part of them, and links are followed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

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
