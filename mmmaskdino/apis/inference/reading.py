"""Reading images of unknown origin: the size is looked at before anything is decoded. No torch."""

from __future__ import annotations

import http.client
import io
import math
import os
import sys
import threading
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmmaskdino.datasets.files import DataError
from mmmaskdino.version import __version__

from .stores import StoredImage, read_stored

if TYPE_CHECKING:
    import torch

    from mmmaskdino.datasets.image_loading import LoadCheckedImage

MEGA = 1_000_000
# 16 bits for each of four channels and as much again: a file with more bytes per pixel is no image of its size.
MAX_BYTES_PER_PIXEL = 16
STDIN = '-'
SECONDS_TO_ANSWER = 30  # of a server
# What stands for an image.
Source = 'str | Path | bytes | Image.Image | np.ndarray | torch.Tensor'
EXPECTED = (
    'expected a path, pattern or address, the bytes of a file, a PIL image, an array of OpenCV (height, width, '
    '3, uint8, blue-green-red), a tensor of torchvision (3, height, width, red-green-blue, uint8 or 0 to 1), or a list '
    'of these'
)


class Limits(NamedTuple):
    """What bounds the memory, in megapixels."""

    max_megapixels: float = 256.0
    """Larger images are rejected before they are decoded."""
    reduce_above: float = 16.0
    """Larger images are reduced to this; result files are enlarged to the original size again."""
    max_input_megapixels: float = 4.0
    """Most that the test pipeline may hand to the network, of one image."""

    def check(self) -> None:
        """Reject limits that are not positive, or not finite.

        Raises:
            ValueError: Naming the limit.
        """
        for name, value in self._asdict().items():
            if not 0 < value < math.inf:
                raise ValueError(f'{name} must be above 0 megapixels and finite, got {value}')


def is_address(source: Any) -> bool:
    """Whether a source is an address of the web."""
    return isinstance(source, str) and source.lower().startswith(('http://', 'https://'))


def name_of(source: Any) -> str:
    """What to call an image in messages."""
    if isinstance(source, (str, Path, StoredImage)):
        return 'stdin' if source == STDIN else str(source)
    return str(getattr(source, 'filename', '') or 'image')  # PIL's, opened from a file


def read_source(source: Any, name: str, loader: LoadCheckedImage, limits: Limits) -> np.ndarray:
    """The image that a source stands for.

    Args:
        source: As `EXPECTED` says.
        name: What to call it in messages.
        loader: Decodes files.
        limits: Of these, `max_megapixels`.

    Returns:
        (h, w, 3) uint8, BGR, turned as its EXIF orientation says.

    Raises:
        DataError: It cannot be read, is no image or too large.
        TypeError: It is of a kind that stands for no image.
    """
    if isinstance(source, StoredImage):
        source = read_stored(source, _most_bytes(limits))
    if isinstance(source, (str, Path, bytes)):
        return read_image(source, loader, limits, name)
    if isinstance(source, Image.Image):
        check_size(name, *source.size, limits)
        return _from_pil(source, name)
    if not isinstance(source, np.ndarray):
        if not hasattr(source, 'detach'):
            raise TypeError(f'{EXPECTED}; got {_kind(source)}')
        source = _from_tensor(source, name)
    image = _checked_array(source, name)
    check_size(name, image.shape[1], image.shape[0], limits)
    return image


def read_image(source: str | Path | bytes, loader: LoadCheckedImage, limits: Limits, name: str = '') -> np.ndarray:
    """Read an image file.

    Args:
        source: Its path or address, `-` for the standard input, or the content of the file.
        loader: Decodes it.
        limits: Of these, `max_megapixels`.
        name: What to call it in messages; empty for the path.

    Returns:
        (h, w, 3) uint8, BGR, turned as its EXIF orientation says.

    Raises:
        DataError: The file is missing, empty, damaged, no image or too large.
    """
    results: dict[str, Any] = dict(img_path=name_of(source))
    if isinstance(source, bytes) or source == STDIN or is_address(source):
        source = source if isinstance(source, bytes) else _fetch(str(source), _most_bytes(limits))
        results.update(img_path=name or results['img_path'], content=source)
    with _no_limit_of_pillow():
        check_size(results['img_path'], *stored_size(source, results['img_path']), limits)
        return loader(results)['img']


def _most_bytes(limits: Limits) -> int:
    return int(limits.max_megapixels * MEGA * 4)


def _fetch(source: str, most: int) -> bytes:
    """What an address or the standard input gives, which must not fill the memory."""
    try:
        if source == STDIN:
            content = _read_stdin(most)
        else:
            request = urllib.request.Request(source, headers={'User-Agent': f'mmmaskdino/{__version__}'})
            with urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER) as answer:
                content = answer.read(most + 1)
                _check_answer(source, answer.headers, len(content))
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f'{source}: cannot be fetched ({getattr(error, "reason", error)})') from error
    if len(content) > most:
        raise DataError(f'{source}: gives more than {most} bytes, which is no image within the limits')
    return content


def _read_stdin(most: int) -> bytes:
    stream: BinaryIO = sys.stdin.buffer
    if stream.isatty():
        raise DataError('-: an image is expected on the standard input, for example: cat photo.jpg | mmmaskdino ... -')
    return stream.read(most + 1)


def _check_answer(address: str, headers: Message, num_bytes: int) -> None:
    """Pages that say "not found" with status 200, and connections that end early."""
    if headers.get_content_type().startswith('text/'):
        raise DataError(f'{address}: the server answers with a page ({headers.get_content_type()}), not with an image')
    if num_bytes < int(headers.get('Content-Length') or 0):
        raise DataError(f'{address}: only {num_bytes} of {headers["Content-Length"]} bytes have arrived; try again')


def read_bytes(source: Path | str | StoredImage, most: int) -> bytes:
    """The content of an image file, as it is.

    Args:
        source: Path, web address, or where it is stored.
        most: Bytes that it may have.

    Raises:
        DataError: It cannot be read, or is larger.
        OSError: A local file cannot be read.
    """
    if isinstance(source, StoredImage):
        return read_stored(source, most)
    if is_address(source):
        return _fetch(str(source), most)
    num_bytes = os.path.getsize(source)
    if num_bytes > most:
        raise DataError(f'{source}: has {num_bytes} bytes, which is no image within the limits')
    return Path(source).read_bytes()


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


def stored_size(source: str | Path | bytes, name: str) -> tuple[int, int]:
    """Width and height from the file's header.

    Raises:
        DataError: The file is missing, empty, no image, or none of its size; of an image that Pillow does not know, the
            cause is its `UnidentifiedImageError`.
    """
    try:
        num_bytes = len(source) if isinstance(source, bytes) else os.path.getsize(source)
        if not num_bytes:
            raise DataError(f'{name}: the file is empty (0 bytes)')
        opened = io.BytesIO(source) if isinstance(source, bytes) else source
        with _no_limit_of_pillow(), Image.open(opened) as image:
            width, height = image.size
    except UnidentifiedImageError as error:
        raise DataError(f'{name}: not an image that can be read') from error
    except (OSError, SyntaxError, ValueError) as error:
        raise error if isinstance(error, DataError) else DataError(f'{name}: cannot be read ({error})') from error
    if num_bytes > max(MEGA, MAX_BYTES_PER_PIXEL * width * height):
        raise DataError(f'{name}: {num_bytes} bytes are far too many for an image of {width} x {height} pixels')
    return width, height


def _from_pil(image: Image.Image, name: str) -> np.ndarray:
    """Turned upright, and with 8 bits; grey images of 16 bits keep their upper ones."""
    try:
        with _no_limit_of_pillow():
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith('I;16'):
                return cv2.cvtColor((np.asarray(image) >> 8).astype(np.uint8), cv2.COLOR_GRAY2BGR)
            if image.mode in ('I', 'F'):
                raise DataError(f'{name}: a PIL image of the mode {image.mode}; convert it to L or RGB, 0 to 255')
            return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])
    except (OSError, SyntaxError) as error:  # it is read from its file only now
        raise DataError(f'{name}: the image is damaged ({error})') from error


def _from_tensor(tensor: torch.Tensor, name: str) -> np.ndarray:
    """As torchvision reads images: (3, h, w), red, green, blue; the array is BGR."""
    array = tensor.detach().cpu()
    shape = tuple(array.shape)
    if array.ndim == 4:
        raise TypeError(f'{name}: a tensor of the shape {shape} is a batch; give a list of its images: list(tensor)')
    if array.ndim != 3 or shape[0] != 3:
        raise TypeError(f'{name}: a tensor must be (3, height, width), red-green-blue, got the shape {shape}')
    if array.is_floating_point():
        array = array.float()
        if not bool(((array >= 0) & (array <= 1)).all()):  # what is not a number is out, too
            least, most = array.min().item(), array.max().item()
            raise DataError(
                f'{name}: a tensor of floats must lie in 0 to 1, as those of torchvision do; got {least:.3g} to '
                f'{most:.3g} (normalised values are no pixels any more; those of 0 to 255 must be uint8)'
            )
        array = (array * 255).round().byte()
    if str(array.dtype) != 'torch.uint8':
        raise TypeError(f'{name}: a tensor must be of uint8 or floats, got {array.dtype}')
    return np.ascontiguousarray(array.numpy().transpose(1, 2, 0)[..., ::-1])


def _checked_array(image: np.ndarray, name: str) -> np.ndarray:
    if image.ndim == 2 and image.dtype == np.uint8 and image.size:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise DataError(
            f'{name}: an array must be (height, width, 3) of uint8 in the order blue, green, red, got the shape '
            f'{image.shape} of {image.dtype}'
        )
    return image


def _kind(source: Any) -> str:
    return f'{type(source).__module__}.{type(source).__name__}'.removeprefix('builtins.')


class _NoLimitOfPillow:
    """Pillow has a limit of its own, which cannot be told per call; ours is checked from the header.

    The limit and the filters of warnings are of the process: the first thread inside sets them, the last one back.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before, self._warnings = Image.MAX_IMAGE_PIXELS, warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.simplefilter('ignore')  # Pillow's about odd metadata
                Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    self._warnings.__exit__(None, None, None)
                    Image.MAX_IMAGE_PIXELS = self._before


_no_limit_of_pillow = _NoLimitOfPillow()
