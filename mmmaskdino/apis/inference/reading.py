"""Reading images of unknown origin: the size is looked at before anything is decoded."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.image_loading import LoadCheckedImage

MEGA = 1_000_000
# 16 bits for each of four channels and as much again: a file with more bytes per pixel is no image of its size.
MAX_BYTES_PER_PIXEL = 16


class Limits(NamedTuple):
    """What bounds the memory, in megapixels."""

    max_megapixels: float = 64.0
    """Larger images are rejected before they are decoded."""
    reduce_above: float = 16.0
    """Larger images are reduced to this; result files are enlarged to the original size again."""
    max_input_megapixels: float = 4.0
    """Most that the test pipeline may hand to the network, of one image."""

    def check(self) -> None:
        """Reject limits that are not positive.

        Raises:
            ValueError: Naming the limit.
        """
        for name, value in self._asdict().items():
            if not value > 0:
                raise ValueError(f'{name} must be above 0 megapixels, got {value}')


def read_image(path: str | Path, loader: LoadCheckedImage, limits: Limits) -> np.ndarray:
    """Read an image file.

    Args:
        path: Its path.
        loader: Decodes it.
        limits: Of these, `max_megapixels`.

    Returns:
        (h, w, 3) uint8, BGR, turned as its EXIF orientation says.

    Raises:
        DataError: The file is missing, empty, damaged, no image or too large.
    """
    path = str(path)
    with _no_limit_of_pillow():
        check_size(path, *_stored_size(path), limits)
        return loader({'img_path': path})['img']


def check_size(name: str, width: int, height: int, limits: Limits) -> None:
    """Reject an image that is too large.

    Raises:
        DataError: With its size, the limit and how to raise it.
    """
    megapixels = width * height / MEGA
    if megapixels > limits.max_megapixels:
        raise DataError(
            f'{name}: the image has {width} x {height} pixels, {megapixels:.1f} megapixels, and the limit is '
            f'{limits.max_megapixels:g}; if you trust it, raise the limit (--max-megapixels, Limits.max_megapixels)'
        )


def reduce_image(image: np.ndarray, max_pixels: float) -> np.ndarray:
    """Reduce an image (h, w, 3) to a number of pixels; a smaller one is returned as it is."""
    height, width = image.shape[:2]
    factor = (max_pixels / (height * width)) ** 0.5
    if factor >= 1:
        return image
    size = (max(1, int(width * factor)), max(1, int(height * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _stored_size(path: str) -> tuple[int, int]:
    """Width and height from the file's header."""
    try:
        num_bytes = os.path.getsize(path)
        if not num_bytes:
            raise DataError(f'{path}: the file is empty (0 bytes)')
        with Image.open(path) as image:
            width, height = image.size
    except UnidentifiedImageError as error:
        raise DataError(f'{path}: not an image that can be read') from error
    except (OSError, SyntaxError, ValueError) as error:
        raise error if isinstance(error, DataError) else DataError(f'{path}: cannot be read ({error})') from error
    if num_bytes > max(MEGA, MAX_BYTES_PER_PIXEL * width * height):
        raise DataError(f'{path}: {num_bytes} bytes are far too many for an image of {width} x {height} pixels')
    return width, height


@contextmanager
def _no_limit_of_pillow() -> Iterator[None]:
    """Pillow has a limit of its own, which cannot be told per call; ours is checked from the header."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # Pillow's about odd metadata
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
