"""What is to be predicted: image files, addresses, the frames of videos, and the names of their results. No torch."""

from __future__ import annotations

import glob
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np

from mmmaskdino.datasets.files import DataError, walk
from mmmaskdino.output_files import result_names

from .journal import saved_before
from .reading import STDIN, Limits, check_size, is_address
from .stores import StoredImage, expand_braces, is_archive, is_bucket, list_archive, list_bucket

IMAGE_SUFFIXES = {
    *('.avif', '.bmp', '.gif', '.jfif', '.jp2', '.jpeg', '.jpg', '.pbm', '.pgm', '.png', '.ppm', '.tif', '.tiff'),
    '.webp',
}
VIDEO_SUFFIXES = {'.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv'}
LIST_SUFFIXES = {'.lst', '.txt'}
SAVED = ('pictures', 'instances', 'panoptic', 'semantic')
FOLDERS = ('pictures', 'panoptic', 'semantic')  # those of which each image has a file
# Of the saved results, the files that all images share.
SHARED_FILES = dict(instances='instances.json', panoptic='panoptic.json', semantic='semantic_classes.txt')
MAX_NAME = 120  # of a part of an address; file systems take 255 bytes


class ImageFile(NamedTuple):
    """One image or video to predict."""

    path: Path | str | StoredImage
    """Of the file, or its address, or `-` for the standard input, or where it is stored."""
    file_name: str
    """Relative to the given folder, with `/`."""
    name: str
    """Of its results: `file_name` without the suffix, where no other image has that."""

    @property
    def is_video(self) -> bool:
        """Whether it is a video, by its suffix."""
        return isinstance(self.path, Path) and is_video(self.path)


class Found(NamedTuple):
    """What was found."""

    files: list[ImageFile]
    """Images and videos, each once, in the given order; those of a folder by their names."""
    others: list[str]
    """Names of the other files of folders, which are no images by their suffix."""
    root: Path | None
    """The folder that the file names of images are relative to; None where they come from elsewhere."""


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_many(source: str | Path) -> bool:
    """Whether a source stands for several images: a folder, a pattern of names, a list or a video."""
    if is_bucket(source):
        return True
    if is_address(source) or source == STDIN:
        return False
    path = Path(source).expanduser()
    if path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES | LIST_SUFFIXES or is_archive(path):
        return True
    return not path.exists() and glob.has_magic(str(source))


def find_images(
    sources: str | Path | Sequence[str | Path], left_out: tuple[Path, ...] = (), accept_missing: bool = False
) -> Found:
    """List what is to be predicted.

    Args:
        sources: One or several of: an image or video; a folder, whose subfolders (linked ones, too, each once) are
            searched for images; a pattern such as `photos/**/*.jpg`; an archive (.zip, .tar; several shards as
            `shard-{000..127}.tar`); a text file (.txt, .lst) with one of these per line; an address (http, https) of an
            image; the address of an image, a folder or an archive for fsspec (`s3://bucket/photos`); `-` for an image
            from the standard input.
        left_out: Folders inside folders that are not looked into, since results are written there.
        accept_missing: Whether files that are not there are listed, too; whoever reads them says so. Those that a text
            file names always are.

    Returns:
        Images and videos with the names of their results. Names of several sources are relative to the deepest folder
        that has them all.

    Raises:
        DataError: There is no such file or folder, or nothing to predict in it.
    """
    sources = [sources] if isinstance(sources, (str, Path)) else list(sources)
    if not sources:
        raise DataError('nothing to predict: no image, folder, video or address is given')
    paths: dict[str, Path | str | StoredImage] = {}
    others: list[str] = []
    for source in sources:
        for path in _expand(source, left_out, others, accept_missing):
            paths.setdefault(os.path.abspath(path) if isinstance(path, Path) else str(path), path)
    local = [key for key, path in paths.items() if isinstance(path, Path)]
    root = _root(sources, local)
    num_stores = len({path.store for path in paths.values() if isinstance(path, StoredImage)})
    num_addresses = sum(isinstance(path, str) for path in paths.values())
    file_names = [
        _name_of_address(path, num_addresses > 1)
        if isinstance(path, str)
        else _name_of_stored(path, num_stores > 1)
        if isinstance(path, StoredImage)
        else Path(os.path.relpath(key, root)).as_posix()
        for key, path in paths.items()
    ]
    what = str(sources[0]) if len(sources) == 1 else f'{sources[0]} and {len(sources) - 1} more'
    names = result_names(file_names, what)
    files = [ImageFile(*fields) for fields in zip(paths.values(), file_names, names, strict=True)]
    return Found(files, others, root)


def result_folders(out: Path) -> tuple[Path, ...]:
    """The folders of results, which a search for images leaves out."""
    return tuple((out / name).resolve() for name in (*SAVED, '.'))


def picture_name(name: str, is_video: bool) -> str:
    """Of the picture of an image or video, relative to the folder of the results."""
    return f'pictures/{name}.{"mp4" if is_video else "jpg"}'


def check_replaced(found: Found, out: Path, save: Sequence[str], overwrite: bool = False) -> None:
    """Reject what would replace results that no run can go on with.

    Args:
        found: What is to be predicted.
        out: Folder of the results.
        save: Some of `SAVED`.
        overwrite: Whether results may be replaced.

    Raises:
        FileExistsError: With the files, and what to do; or `out` or a folder inside is a file.
    """
    if out.exists() and not out.is_dir():
        raise FileExistsError(f'{out} is a file; the results go into a folder (--out), choose another name')
    files = [out / kind for kind in save if kind in FOLDERS and (out / kind).is_file()]
    if files:
        raise FileExistsError(
            f'{files[0]} is a file, in the place of a folder of results; move it (--out names another)'
        )
    if overwrite:
        return
    before = saved_before(out)  # the journal says whether these may be replaced, when the settings are known
    names = [SHARED_FILES[kind] for kind in save if kind in SHARED_FILES and kind not in before]
    if 'pictures' in save and 'pictures' not in before:
        names += [picture_name(file.name, file.is_video) for file in found.files]
    there = [name for name in names if os.path.exists(out / name)]
    if there:
        more = f' and {len(there) - 1} more' * (len(there) > 1)
        raise FileExistsError(
            f'{out / there[0]}{more} would be replaced; allow it with --overwrite (overwrite=True), or choose another '
            'folder (--out)'
        )


def _expand(
    source: str | Path, left_out: tuple[Path, ...], others: list[str], accept_missing: bool
) -> Iterator[Path | str | StoredImage]:
    """The files and addresses that a source stands for; names of files that are no images go to `others`."""
    if len(expand_braces(str(source))) > 1 and not Path(source).exists():
        for each in expand_braces(str(source)):
            yield from _expand(each, left_out, others, accept_missing)
        return
    if is_bucket(source):
        yield from list_bucket(str(source), IMAGE_SUFFIXES, others)
        return
    if is_address(source) or source == STDIN:
        yield str(source)
        return
    path = Path(source).expanduser()
    if path.is_file() and is_archive(path):
        yield from list_archive(path, IMAGE_SUFFIXES, others)
    elif path.is_dir():
        yield from _images_in(path, left_out, others)
    elif path.suffix.lower() in LIST_SUFFIXES and path.is_file():
        yield from _listed_in(path, left_out, others)
    elif path.is_file() or (accept_missing and not glob.has_magic(str(path))):
        yield path
    elif glob.has_magic(str(path)):
        matches = sorted(glob.glob(str(path), recursive=True))
        if not matches:
            raise DataError(f'{source}: no file has such a name')
        for match in map(Path, matches):
            if match.is_dir():
                yield from _images_in(match, left_out, others)
            elif is_archive(match):
                yield from list_archive(match, IMAGE_SUFFIXES, others)
            elif match.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
                yield match
            else:
                others.append(str(match))
    else:
        raise DataError(f'{source}: no such file or folder')


def _images_in(folder: Path, left_out: tuple[Path, ...], others: list[str]) -> list[Path]:
    paths = []
    for inside, names in walk(folder, left_out=left_out):
        for name in names:
            path = inside / name
            if path.suffix.lower() in IMAGE_SUFFIXES:
                paths.append(path)
            else:
                others.append(str(path.relative_to(folder)))
    if not paths:
        raise DataError(f'{folder}: no image in this folder (files that end with {", ".join(sorted(IMAGE_SUFFIXES))})')
    return paths


def _listed_in(path: Path, left_out: tuple[Path, ...], others: list[str]) -> Iterator[Path | str | StoredImage]:
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f'{path}: a list of images must be a text in UTF-8 ({error})') from error
    sources = [line.strip() for line in lines if line.strip()]
    if not sources:
        raise DataError(f'{path}: the list is empty; it has to name an image, folder or address per line')
    for source in sources:
        if Path(source).suffix.lower() in LIST_SUFFIXES:
            raise DataError(f'{path}: {source} is another list; a list names images, folders and addresses')
        beside = path.parent / source
        if '://' not in source and not os.path.exists(source) and beside.exists():
            source = str(beside)
        yield from _expand(source, left_out, others, accept_missing=True)


def _root(sources: Sequence[str | Path], local: Sequence[str]) -> Path | None:
    """The folder that names are relative to: the given one, or the deepest that has all files."""
    if not local:
        return None
    if len(sources) == 1 and Path(sources[0]).expanduser().is_dir():
        return Path(os.path.abspath(Path(sources[0]).expanduser()))
    return Path(os.path.commonpath([os.path.dirname(path) for path in local]))


def _name_of_address(address: str, is_one_of_many: bool) -> str:
    """The last part of an address, or all of it where there are others."""
    if address == STDIN:
        return 'stdin'
    parts = urlsplit(address)
    path = re.sub(r'[\x00-\x1f\x7f\\]', '_', unquote(parts.path))
    steps = [step[-MAX_NAME:] for step in posixpath.normpath(f'/{path}').split('/') if step]
    return '/'.join([parts.hostname or 'image', *steps]) if is_one_of_many or not steps else steps[-1]


def _name_of_stored(image: StoredImage, is_one_of_many: bool) -> str:
    """Its name inside, behind the name of the archive or folder where there are others."""
    name = re.sub(r'[\x00-\x1f\x7f\\]', '_', image.name)
    return f'{Path(urlsplit(image.store).path).stem}/{name}' if is_one_of_many else name


class Video:
    """Frames of a video, one at a time.

    Args:
        path: The file.
        limits: Of these, `max_megapixels`.
        name: In front of the numbers of its frames; None for the file's without suffix.

    Raises:
        DataError: The file is no video that can be read, or its frames are too large.
    """

    def __init__(self, path: Path, limits: Limits, name: str | None = None) -> None:
        self.path = path
        self.name = name or path.stem
        capture = self._open()
        width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self.fps: float = capture.get(cv2.CAP_PROP_FPS) or 25.0
        """Frames per second, 25 where the file does not say."""
        self.num_frames = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        """As the file says, which is often an estimate; 0 where it does not."""
        capture.release()
        check_size(str(path), width, height, limits)

    def frames(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and image (h, w, 3) uint8, BGR, of each frame.

        Raises:
            DataError: There is none.
        """
        capture = self._open()
        number = 0
        while True:
            good, frame = capture.read()
            if not good:
                break
            yield f'{self.name}/{number:06d}', frame
            number += 1
        capture.release()
        if not number:
            raise DataError(f'{self.path}: no frame can be read')

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self.path)) if self.path.is_file() else None
        if capture is None or not capture.isOpened():
            is_there = self.path.is_file()
            raise DataError(f'{self.path}: {"not a video that can be read" if is_there else "no such file"}')
        return capture
