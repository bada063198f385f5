"""Images that are no files of their own: in archives (zip, tar, shards of WebDataset) and in buckets. No torch."""

from __future__ import annotations

import functools
import os
import re
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmmaskdino.datasets.files import DataError, is_leftover

ARCHIVE_SUFFIXES = {'.tar', '.zip'}
COMPRESSED = ('.tar.gz', '.tgz', '.tar.bz2', '.tar.xz', '.tar.zst')
_BRACES = re.compile(r'\{(\d+)\.\.(\d+)\}')


@dataclass(frozen=True)  # no tuple: those are names with images
class StoredImage:
    """An image in an archive or a bucket."""

    store: str
    """Path of the archive, or address of the bucket's folder."""
    name: str
    """Of the image inside."""
    offset: int = -1
    """Of its first byte in a tar file."""
    num_bytes: int = 0
    """In a tar file."""

    def __str__(self) -> str:
        return f'{self.store.rstrip("/")}/{self.name}'


def is_bucket(source: Any) -> bool:
    """Whether a source is an address for fsspec: s3://bucket/folder, gs://..., memory://...; no web address."""
    return isinstance(source, str) and '://' in source and not source.lower().startswith(('http://', 'https://'))


def is_archive(path: Path) -> bool:
    """Whether a file is an archive of images, by its suffix.

    Raises:
        DataError: It is a compressed one, of which no single image can be read.
    """
    if path.name.lower().endswith(COMPRESSED):
        raise DataError(
            f'{path}: of a compressed tar no single image can be read. Images are compressed already: make it a .tar '
            'or .zip, or unpack it'
        )
    return path.suffix.lower() in ARCHIVE_SUFFIXES


def expand_braces(source: str) -> list[str]:
    """`shard-{000..002}.tar` as the names that it stands for; any other name alone."""
    found = _BRACES.search(source)
    if not found:
        return [source]
    first, last = found.groups()
    numbers = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return [name for n in numbers for name in expand_braces(f'{source[: found.start()]}{n}{source[found.end() :]}')]


def list_archive(path: Path, suffixes: set[str], others: list[str]) -> list[StoredImage]:
    """The images of an archive, in its order, without what systems leave beside them.

    Args:
        path: The file.
        suffixes: Of images.
        others: Gets the names of the other files.

    Raises:
        DataError: It is damaged, or has no image.
    """
    return _only_images(str(path), _members(path, str(path)), suffixes, others)


def list_bucket(address: str, suffixes: set[str], others: list[str]) -> list[StoredImage]:
    """The images of a folder in a bucket, without leftovers, or the one of that address, by their names.

    Args:
        address: For fsspec. An archive is copied to the temporary folder first, by each process that reads from it.
        suffixes: Of images.
        others: Gets the names of the other files.

    Raises:
        DataError: It cannot be reached, or has no image.
    """
    return _only_images(address, _reached(address, _list), suffixes, others)


def _list(address: str) -> list[StoredImage]:
    import fsspec

    if _is_remote_archive(address):
        return _members(_local_copy(address), address)
    system, path = fsspec.core.url_to_fs(address)
    if system.isfile(path):
        folder, _, name = address.rpartition('/')
        return [StoredImage(folder, name)]
    names = sorted(system.find(path))
    prefix = path.rstrip('/') + '/'
    return _without_leftovers([StoredImage(address.rstrip('/'), name.removeprefix(prefix)) for name in names])


def read_stored(image: StoredImage, most: int) -> bytes:
    """The content of an image file.

    Args:
        image: Where it is.
        most: Bytes that it may have.

    Raises:
        DataError: It cannot be read, or is larger.
    """
    if is_bucket(image.store) and not _is_remote_archive(image.store):
        return _checked(image, _reached(str(image), lambda address: _read_from_bucket(address, most)), most)
    path = _reached(image.store, _local_copy) if is_bucket(image.store) else Path(image.store)
    try:
        if image.offset >= 0:
            with open(path, 'rb') as file:
                file.seek(image.offset)
                content = file.read(min(image.num_bytes, most + 1))
            if len(content) < min(image.num_bytes, most + 1):
                raise DataError(f'{image}: the archive ends within this image')
        else:
            with _zip(path, os.stat(path).st_mtime_ns).open(image.name) as file:
                content = file.read(most + 1)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, KeyError) as error:
        # zipfile: RuntimeError for a password, NotImplementedError for a compression that it does not know
        if isinstance(error, DataError):
            raise
        raise DataError(f'{image}: cannot be read from the archive ({error})') from error
    return _checked(image, content, most)


def _members(path: Path, store: str) -> list[StoredImage]:
    try:
        if path.suffix.lower() == '.zip':
            archive = _zip(path, os.stat(path).st_mtime_ns)
            entries = [StoredImage(store, info.filename) for info in archive.infolist() if not info.is_dir()]
        else:
            with tarfile.open(path, 'r:') as tar:
                entries = [
                    StoredImage(store, member.name, member.offset_data, member.size)
                    for member in tar
                    if member.isfile()
                ]
    except (tarfile.TarError, zipfile.BadZipFile, OSError) as error:
        raise DataError(f'{path}: cannot be read as an archive ({error})') from error
    return _without_leftovers(entries)


def _without_leftovers(entries: list[StoredImage]) -> list[StoredImage]:
    """As of a folder: archives made on macOS have a `__MACOSX/._photo.jpg` for each photo.jpg."""
    steps = '.', '..'  # no names; many a tar has them: ./photo.jpg
    return [
        entry for entry in entries if not any(is_leftover(part) for part in entry.name.split('/') if part not in steps)
    ]


def _read_from_bucket(address: str, most: int) -> bytes:
    import fsspec

    system, path = fsspec.core.url_to_fs(address)
    return system.cat_file(path, end=most + 1)


def _checked(image: StoredImage, content: bytes, most: int) -> bytes:
    if len(content) > most:
        raise DataError(f'{image}: has more than {most} bytes, which is no image within the limits')
    return content


def _reached(address: str, action: Callable[[str], Any]) -> Any:
    """What an action on an address gives; what fsspec and its many drivers raise becomes a message."""
    try:
        return action(address)
    except ImportError as error:
        raise DataError(
            f'{address}: {error}. fsspec needs a package for this kind of address (s3://: s3fs, gs://: gcsfs, '
            'az://: adlfs): pip install it'
        ) from error
    except DataError:
        raise
    except Exception as error:  # each driver has its own
        raise DataError(f'{address}: cannot be reached ({type(error).__name__}: {error})') from error


def _only_images(where: str, entries: list[StoredImage], suffixes: set[str], others: list[str]) -> list[StoredImage]:
    images = [entry for entry in entries if Path(entry.name).suffix.lower() in suffixes]
    others += [entry.name for entry in entries if Path(entry.name).suffix.lower() not in suffixes]
    if not images:
        raise DataError(f'{where}: no image in it (names that end with {", ".join(sorted(suffixes))})')
    return images


def _is_remote_archive(address: str) -> bool:
    return Path(address).suffix.lower() in ARCHIVE_SUFFIXES


@functools.lru_cache(maxsize=64)
def _local_copy(address: str) -> Path:
    """A copy in the temporary folder, gone when the process ends: a tar has no directory to look images up in."""
    import fsspec

    return Path(fsspec.open_local(f'simplecache::{address}', simplecache=dict(same_names=True)))


@functools.lru_cache(maxsize=8)
def _zip(path: Path, changed: int) -> zipfile.ZipFile:
    """Open for the next images; several threads may read from it."""
    return zipfile.ZipFile(path)
