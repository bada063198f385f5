"""Reading images so that a missing, damaged or mismatching file is an error that names it."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS
from PIL import Image, ImageOps, UnidentifiedImageError

from mmmaskdino.datasets.files import MAX_PIXELS, DataError, check_num_pixels, read_file
from mmmaskdino.datasets.image_depth import RemarkCounts, RemarkLog, describe_unreadable, find_losses

JPEG_START, JPEG_END = b'\xff\xd8', b'\xff\xd9'
PNG_START, PNG_END = b'\x89PNG', b'IEND\xaeB`\x82'


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """Load an image like mmcv's `LoadImageFromFile`, but refuse what that would pass on damaged.

    mmcv's decoder returns the readable part of a truncated file, grey below, and nothing is said of an image whose size
    is not the one its annotations were made for. The size is compared after the EXIF orientation has been applied, as
    mmcv does with `color_type='color'`. What else is lost by reading three channels of 8 bits (pages, transparency, 12
    bits in 16) is logged once for each kind, or goes to what stands in `remarks`.

    Required Keys:

    - img_path
    - height, width (optional; pixels, as the annotation file has them)

    Added Keys:

    - img: (h, w, 3) uint8, BGR
    - img_shape, ori_shape: (h, w)

    Takes the arguments of `LoadImageFromFile`; `ignore_empty`, which skips unreadable images, is refused.

    Args:
        max_pixels: Larger images (width times height) are refused before they are decoded.
    """

    def __init__(self, *args: Any, max_pixels: int = MAX_PIXELS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_pixels = max_pixels
        self.remarks: RemarkLog | RemarkCounts = RemarkLog()
        if self.ignore_empty:
            raise ValueError('LoadImageFromFile: ignore_empty=True would skip unreadable images; remove it')

    def transform(self, results: dict) -> dict:
        """Load the image.

        Args:
            results: See the required keys.

        Returns:
            The results with the added keys.

        Raises:
            DataError: The file is missing, empty, truncated, no image, too large, or of another size than the
                annotations say.
        """
        path = results['img_path']
        content = read_file(path, self.backend_args)
        check_num_pixels(content, path, self.max_pixels)
        _check_complete(content, path)
        image = mmcv.imfrombytes(content, flag=self.color_type, backend=self.imdecode_backend)
        if image is None:
            raise DataError(f'{path}: {describe_unreadable(content)}')
        _check_size(image, results, content)
        for remark in find_losses(content) if self.color_type.startswith('color') else ():
            self.remarks.add(path, remark)
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = image.shape[:2]
        results['ori_shape'] = image.shape[:2]
        return results


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


def _check_size(image: np.ndarray, results: dict, content: bytes) -> None:
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


def with_checked_image_loader(pipeline: Sequence[dict | Callable]) -> list[dict | Callable]:
    """Put :class:`LoadCheckedImage` in the place of mmcv's loader, with the same arguments.

    Configs keep naming `LoadImageFromFile`, because mmdet's inference finds the loader by that name.

    Args:
        pipeline: Transform configs or built transforms.

    Returns:
        A new list; the given configs are unchanged.
    """
    return [
        {**transform, 'type': LoadCheckedImage} if isinstance(transform, dict) and _is_loader(transform) else transform
        for transform in pipeline
    ]


def _is_loader(transform: dict) -> bool:
    name = transform['type']
    return name is LoadImageFromFile or (isinstance(name, str) and name.split('.')[-1] == 'LoadImageFromFile')
