"""Reading images so that a missing, damaged or mismatching file is an error that names it; without torch."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmmaskdino.datasets.files import MAX_PIXELS, DataError, check_num_pixels, read_file
from mmmaskdino.datasets.image_depth import describe_unreadable, has_wide_samples

JPEG_START, JPEG_END = b'\xff\xd8', b'\xff\xd9'
PNG_START, PNG_END = b'\x89PNG', b'IEND\xaeB`\x82'


def decode_color(content: bytes) -> np.ndarray | None:
    """The image, (h, w, 3) uint8 BGR, as mmcv decodes it by default; None if that cannot be done."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return decode_with_pillow(content) if image is None else image


def decode_with_pillow(content: bytes) -> np.ndarray | None:
    """The same for formats that Pillow knows and this build of OpenCV does not, such as AVIF."""
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
