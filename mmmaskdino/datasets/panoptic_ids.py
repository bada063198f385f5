"""COCO's panoptic PNGs: the segment id of a pixel is R + 256 G + 65536 B, and 0 is void."""

import io
from typing import Any

import numpy as np
from PIL import Image

from mmmaskdino.datasets.files import DataError, check_num_pixels, read_file

MAX_SEGMENT_ID = 256**3 - 1


def rgb_to_ids(rgb: np.ndarray) -> np.ndarray:
    """Convert the colours of a panoptic PNG to segment ids; the inverse of :func:`ids_to_rgb`.

    Args:
        rgb: (h, w, 3) uint8, channels in the order red, green, blue.

    Returns:
        (h, w) int32 ids in [0, 2**24 - 1].

    Raises:
        ValueError: The array has another shape or type.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f'Expected an (h, w, 3) uint8 array of colours, got shape {rgb.shape} and type {rgb.dtype}')
    ids = rgb[..., 2].astype(np.int32)
    for channel in (1, 0):
        ids <<= 8
        ids |= rgb[..., channel]
    return ids


def ids_to_rgb(ids: np.ndarray) -> np.ndarray:
    """Convert segment ids to the colours of a panoptic PNG; the inverse of :func:`rgb_to_ids`.

    Args:
        ids: (h, w) integers in [0, 2**24 - 1].

    Returns:
        (h, w, 3) uint8, channels in the order red, green, blue.

    Raises:
        ValueError: The array is not an integer map, or an id does not fit three bytes.
    """
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f'Expected an (h, w) array of integer ids, got shape {ids.shape} and type {ids.dtype}')
    if ids.size and not 0 <= ids.min() <= ids.max() <= MAX_SEGMENT_ID:
        raise ValueError(f'Segment ids must lie in [0, {MAX_SEGMENT_ID}], got {ids.min()} .. {ids.max()}')
    # The first three bytes of a little-endian id are its red, green and blue.
    little_endian = np.ascontiguousarray(ids, dtype='<u4')
    return np.ascontiguousarray(little_endian.view(np.uint8).reshape(*ids.shape, 4)[..., :3])


def read_panoptic_png(path: str, backend_args: dict[str, Any] | None = None) -> np.ndarray:
    """Read the segment ids of a COCO panoptic PNG.

    Args:
        path: File path or URI.
        backend_args: Arguments of mmengine's file backend; None means it is chosen by the path.

    Returns:
        (h, w) int32 ids, 0 where the pixel is void.

    Raises:
        DataError: The file is missing, empty, truncated, no PNG, not 8-bit RGB, or of more than 100 million pixels.
    """
    content = read_file(path, backend_args)
    check_num_pixels(content, path)
    try:
        with Image.open(io.BytesIO(content)) as image:
            image_format, mode = image.format, image.mode
            pixels = np.asarray(image)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError or its own, by the kind of damage
        raise DataError(f'{path}: not a readable panoptic PNG ({type(error).__name__}: {error})') from error
    if image_format != 'PNG' or mode != 'RGB':
        raise DataError(
            f'{path}: a panoptic annotation must be an 8-bit RGB PNG whose colours are segment ids '
            f'(id = R + 256 G + 65536 B), got a {image_format} of mode {mode!r}; write it with '
            'mmmaskdino.datasets.ids_to_rgb'
        )
    return rgb_to_ids(pixels)
