"""Reading images so that a bad file is an error that names it, and what 8 bits in 3 channels lose; without torch."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from mmengine.logging import print_log
from PIL import Image, ImageOps, UnidentifiedImageError

from mmmaskdino.datasets.files import MAX_PIXELS, DataError, check_num_pixels, read_file

JPEG_START, JPEG_END = b'\xff\xd8', b'\xff\xd9'
PNG_START, PNG_END = b'\x89PNG', b'IEND\xaeB`\x82'


def decode_color(content: bytes) -> np.ndarray | None:
    """The image, (h, w, 3) uint8 BGR, as mmcv decodes it by default; None if that cannot be done."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return decode_with_pillow(content) if image is None else image


def decode_with_pillow(content: bytes) -> np.ndarray | None:
    """The same for formats that Pillow knows and this build of OpenCV does not, such as AVIF.

    A JPEG or PNG that OpenCV rejects is damaged, even where Pillow makes something of it.
    """
    if content.startswith((JPEG_START, PNG_START)):
        return None
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode in ('I', 'F') or image.mode.startswith('I;'):
                return None  # values that three channels of 8 bits do not have
            return np.ascontiguousarray(np.asarray(ImageOps.exif_transpose(image).convert('RGB'))[..., ::-1])
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return None


def read_image(
    results: Mapping[str, Any],
    decode: Callable[[bytes], np.ndarray | None] = decode_color,
    backend_args: dict | None = None,
    max_pixels: int = MAX_PIXELS,
) -> tuple[np.ndarray, bytes]:
    """Read an image and check it.

    Args:
        results: `img_path` and, optionally, `height` and `width` in pixels, as the annotation file has them, and
            `content`, the bytes of an image that is in no file.
        decode: What makes the image of the file's content.
        backend_args: Arguments of mmengine's file backend.
        max_pixels: Larger images (width times height) are rejected before they are decoded.

    Returns:
        The image, (h, w, ...), and the content of its file.

    Raises:
        DataError: The file is missing, empty, truncated, no image, too large, or of another size than the annotations
            say.
    """
    path = results['img_path']
    content = results['content'] if 'content' in results else read_file(path, backend_args)
    check_num_pixels(content, path, max_pixels)
    _check_complete(content, path)
    image = decode(content)
    if image is None or has_wide_samples(content):
        raise DataError(f'{path}: {describe_unreadable(content)}')
    _check_size(image, results, content)
    return image, content


def _check_complete(content: bytes, path: str) -> None:
    # A file with its end marker in place is complete, which holds for nearly all; only the others are decoded twice.
    jpeg = content.startswith(JPEG_START) and content.endswith(JPEG_END)
    png = content.startswith(PNG_START) and content.endswith(PNG_END)
    if jpeg or png:
        return
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except UnidentifiedImageError:
        return  # perhaps a format that only the decoder knows
    except (OSError, SyntaxError) as error:
        raise DataError(f'{path}: the image is damaged ({error}); replace it') from error


def _check_size(image: np.ndarray, results: Mapping[str, Any], content: bytes) -> None:
    expected = (results.get('height', image.shape[0]), results.get('width', image.shape[1]))
    if image.shape[:2] == expected:
        return
    if _is_turned(content):
        hint = (
            'its EXIF orientation turns it: annotate it as displayed, or load it as stored with '
            "LoadImageFromFile(color_type='color_ignore_orientation')"
        )
    else:
        hint = 'correct height and width (and the annotations) in the file, or replace the image'
    raise DataError(
        f'{results["img_path"]}: the annotations are for {expected[1]} x {expected[0]} pixels (width x height), '
        f'but the image has {image.shape[1]} x {image.shape[0]}; {hint}'
    )


def _is_turned(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content)) as stored:
            return ImageOps.exif_transpose(stored).size != stored.size
    except UnidentifiedImageError:
        return False


PNG_DEPTH = 24  # where a PNG has the bits of its samples
BITS_PER_SAMPLE = 258  # the tag of a TIFF
DARK_BELOW = 2**14  # of 16-bit samples: with 8 bits no value is above a quarter of white
DARK_KIND = (
    'images of 16 bits whose values end far below 65535: nearly black once they are read with 8 bits; stretch the '
    'values and save the images again'
)
MAX_NAMES = 5


class Remark(NamedTuple):
    """What an image loses."""

    kind: str
    """What is odd and what comes of it; the same for all images of the kind."""
    detail: str
    """Of this image; may be empty."""


class RemarkLog:
    """Logs the first image of each kind; every process that reads images has its own."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def add(self, path: str, remark: Remark) -> None:
        """Note an image."""
        if remark.kind not in self._told:
            self._told.add(remark.kind)
            print_log(f'{path}{remark.detail and f" ({remark.detail})"}: {remark.kind}', 'current', logging.WARNING)


class RemarkCounts:
    """Counts the images of each kind and keeps the first names."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def add(self, path: str, remark: Remark) -> None:
        """Note an image."""
        self._counts[remark.kind] = self._counts.get(remark.kind, 0) + 1
        names = self._names.setdefault(remark.kind, [])
        if len(names) < MAX_NAMES:
            names.append(f'{path}{remark.detail and f" ({remark.detail})"}')

    def lines(self) -> list[str]:
        """One for each kind."""
        return [
            f'{kind}: {count} ({", ".join(self._names[kind])}{", ..." * (count > MAX_NAMES)})'
            for kind, count in self._counts.items()
        ]


def find_losses(content: bytes) -> list[Remark]:
    """What is lost of an image that is read as three channels of 8 bits.

    Args:
        content: The file. JPEG files, which have nothing else, are not looked at.
    """
    if content.startswith(b'\xff\xd8'):
        return []
    try:
        with Image.open(io.BytesIO(content)) as image:
            mode, num_frames = image.mode, getattr(image, 'n_frames', 1)
            is_tiff, has_key = image.format == 'TIFF', 'transparency' in image.info
            bits = max(image.tag_v2.get(BITS_PER_SAMPLE, (8,))) if is_tiff else 8
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return []  # the decoder may know it all the same
    if content.startswith(b'\x89PNG'):
        bits = content[PNG_DEPTH]
    losses = []
    if num_frames > 1:
        losses.append(Remark('images of several pages or frames, of which the first is read', f'{num_frames} of them'))
    if bits == 16 or mode.startswith('I;16'):
        samples = _decode(content)
        largest = 0 if samples is None else int(samples.max())
        if 0 < largest < DARK_BELOW:
            losses.append(Remark(DARK_KIND, f'largest value {largest}'))
    if (mode in ('RGBA', 'LA', 'PA') or has_key) and _is_transparent(content):
        if is_tiff:
            kind = (
                'TIFF images whose last band is taken for opacity, which darkens the others; save three bands if it is '
                'another colour, such as infrared'
            )
        else:
            kind = 'images with transparent pixels, which are read as if they were opaque'
        losses.append(Remark(kind, ''))
    return losses


def has_wide_samples(content: bytes) -> bool:
    """Whether a TIFF file has samples of more than 16 bits, which older versions of OpenCV read as nearly black."""
    samples = _decode(content) if content.startswith((b'II*\0', b'MM\0*')) else None
    return samples is not None and samples.dtype.itemsize > 2


def describe_unreadable(content: bytes) -> str:
    """Why an image cannot be read, and what fixes it."""
    samples = _decode(content)
    if samples is None:
        return 'not an image that can be read; replace it, or remove it from the annotations if there are any'
    return (
        f'the image has samples of {8 * samples.dtype.itemsize} bits ({samples.dtype}), expected 8 or 16; stretch the '
        'values to 0 to 255 and save it with 8 bits'
    )


def _decode(content: bytes) -> np.ndarray | None:
    """The samples as they are stored."""
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None


def _is_transparent(content: bytes) -> bool:
    samples = _decode(content)
    if samples is None or samples.ndim != 3 or samples.shape[2] != 4:
        return False
    return bool((samples[..., 3] < np.iinfo(samples.dtype).max).any())
