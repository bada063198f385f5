"""What is to be predicted: image files, the frames of a video, and the names of their results."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.folders import walk
from mmmaskdino.evaluation.output_files import result_names

from .reading import Limits, check_size

IMAGE_SUFFIXES = {'.bmp', '.gif', '.jp2', '.jpeg', '.jpg', '.pbm', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp'}
VIDEO_SUFFIXES = {'.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv'}


class ImageFile(NamedTuple):
    """One image to predict."""

    path: Path
    file_name: str
    """Relative to the given folder, with `/`."""
    name: str
    """Of its results: `file_name` without the suffix, where no other image has that."""


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_images(source: Path, left_out: tuple[Path, ...] = ()) -> tuple[list[ImageFile], list[str]]:
    """List the images of a folder and its subfolders (linked ones, too, each once), or the one file.

    Args:
        source: Folder or image file.
        left_out: Folders inside that are not looked into, since results are written there.

    Returns:
        The images in the order of their names, and the names of the other files, which are no images by their suffix.

    Raises:
        DataError: There is no such file or folder, or no image in it.
    """
    if source.is_file():
        return [ImageFile(source, source.name, source.stem)], []
    if not source.is_dir():
        raise DataError(f'{source}: no such file or folder')
    paths: list[Path] = []
    others: list[Path] = []
    for folder, names in walk(source, left_out=left_out):
        for name in names:
            path = folder / name
            (paths if path.suffix.lower() in IMAGE_SUFFIXES else others).append(path)
    if not paths:
        raise DataError(f'{source}: no image in this folder (files that end with {", ".join(sorted(IMAGE_SUFFIXES))})')
    file_names = [path.relative_to(source).as_posix() for path in paths]
    names = result_names(file_names, str(source))
    files = [ImageFile(*fields) for fields in zip(paths, file_names, names, strict=True)]
    return files, [str(path.relative_to(source)) for path in others]


class Video:
    """Frames of a video, one at a time.

    Args:
        path: The file.
        limits: Of these, `max_megapixels`.

    Raises:
        DataError: The file is no video that can be read, or its frames are too large.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        if not path.is_file():
            raise DataError(f'{path}: no such file')
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise DataError(f'{path}: not a video that can be read')
        width, height = (int(self._get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        check_size(str(path), width, height, limits)

    @property
    def fps(self) -> float:
        """Frames per second, 25 where the file does not say."""
        return self._get(cv2.CAP_PROP_FPS) or 25.0

    @property
    def num_frames(self) -> int:
        """As the file says, which is often an estimate; 0 where it does not."""
        return max(0, int(self._get(cv2.CAP_PROP_FRAME_COUNT)))

    def frames(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and image (h, w, 3) uint8, BGR, of each frame.

        Raises:
            DataError: There is none.
        """
        number = 0
        while True:
            good, frame = self._capture.read()
            if not good:
                break
            yield f'{self.path.stem}/{number:06d}', frame
            number += 1
        self._capture.release()
        if not number:
            raise DataError(f'{self.path}: no frame can be read')

    def _get(self, key: int) -> float:
        return self._capture.get(key)
