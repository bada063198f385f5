"""Where results are written: inside one folder, and no two images into one file."""

from __future__ import annotations

import importlib
import os
import posixpath
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmmaskdino.datasets.files import DataError


class OutputFolder:
    """The only place where anything is written.

    Args:
        path: The folder; it is made.

    Raises:
        FileExistsError: There is a file of that name.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._root = path.resolve()

    def file(self, *parts: str) -> Path:
        """A path in the folder, whose parent is made.

        Raises:
            ValueError: It would lie outside, by its name or by a link.
        """
        path = self.path.joinpath(*parts)
        if not path.parent.resolve().is_relative_to(self._root) or path.is_symlink():
            raise ValueError(f'{path} leads out of the folder {self.path}; nothing is written there')
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def replacing(self, *parts: str) -> Iterator[Path]:
        """A path to write to, which becomes that of :meth:`file` when all inside has succeeded."""
        path = self.file(*parts)
        partial = partial_path(path)
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def partial_path(path: Path) -> Path:
    """Where a file is written until it is complete; short, since its own name may have the greatest length.

    The name is of this call alone: processes that share a folder may have the same number, on several machines.
    """
    return path.with_name(f'.{uuid.uuid4().hex[:16]}.partial{path.suffix}')


def result_names(file_names: Sequence[str], source: str) -> list[str]:
    """Names of the images' result files, without suffix: distinct, and relative to the folder of the results.

    That is the name of the image with its subfolders. The folder of the results is the root of all names, so that
    ``..`` does not lead out of it.

    Args:
        file_names: Names of the images, with ``/``.
        source: What lists them, for errors.

    Returns:
        Their names without the suffix, which only those keep that would be the same as another's (on some file systems
        A is a, too).

    Raises:
        DataError: Two images have the same name.
    """
    files = [posixpath.normpath(f'/{name}').lstrip('/') for name in file_names]
    names = [file.removesuffix(Path(file).suffix) for file in files]
    before = None
    while names != before:  # a name that keeps its suffix may be another's without it: a.jpg of a.jpg.png
        before = names
        counts = Counter(name.lower() for name in names)
        names = [file if counts[name.lower()] > 1 else name for file, name in zip(files, names, strict=True)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        same = [name for name, result in zip(file_names, names, strict=True) if result == twice[0]]
        raise DataError(f'{source}: the results of {" and ".join(same)} would be one file; give the images other names')
    return names


def check_pyarrow() -> None:
    """Reject Parquet files before anything is predicted where they could not be written.

    Raises:
        ValueError: pyarrow is not installed, or is one that this NumPy does not run.
    """
    try:
        importlib.import_module('pyarrow')
    except ImportError as error:
        raise ValueError(
            f'the format parquet needs pyarrow: pip install "mmmaskdino[parquet]", with NumPy 1 "pyarrow<20" ({error})'
        ) from error
