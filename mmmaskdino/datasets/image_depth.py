"""What reading an image as three channels of 8 bits loses."""

from __future__ import annotations

import io
import logging
from typing import NamedTuple

import cv2
import numpy as np
from mmengine.logging import print_log
from PIL import Image, UnidentifiedImageError

PNG_DEPTH = 24  # where a PNG has the bits of its samples
BITS_PER_SAMPLE = 258  # the tag of a TIFF
DARK_BELOW = 2**14  # of 16-bit samples: with 8 bits no value is above a quarter of white
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
            kind = (
                'images of 16 bits whose values end far below 65535: nearly black once they are read with 8 bits; '
                'stretch the values and save the images again'
            )
            losses.append(Remark(kind, f'largest value {largest}'))
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
