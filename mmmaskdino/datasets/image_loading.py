"""Reading images so that a missing, damaged or mismatching file is an error that names it."""

from typing import Any

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS

from mmmaskdino.datasets.files import MAX_PIXELS
from mmmaskdino.datasets.image_reading import RemarkCounts, RemarkLog, decode_with_pillow, find_losses, read_image


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """Load an image like mmcv's `LoadImageFromFile`, but reject what that would pass on damaged.

    mmcv's decoder returns the readable part of a truncated file, grey below, and nothing is said of an image whose size
    is not the one its annotations were made for. The size is compared after the EXIF orientation has been applied, as
    mmcv does with `color_type='color'`. What else is lost by reading three channels of 8 bits (pages, transparency, 12
    bits in 16) is logged once for each kind, or goes to what stands in `remarks`.

    Required Keys:

    - img_path
    - height, width (optional; pixels, as the annotation file has them)
    - content (optional; the bytes of an image that is in no file)

    Added Keys:

    - img: (h, w, 3) uint8, BGR
    - img_shape, ori_shape: (h, w)

    Takes the arguments of `LoadImageFromFile`; `ignore_empty`, which skips unreadable images, is rejected.

    Args:
        max_pixels: Larger images (width times height) are rejected before they are decoded.
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
        image, content = read_image(results, self._decode, self.backend_args, self.max_pixels)
        for remark in find_losses(content) if self.color_type.startswith('color') else ():
            self.remarks.add(results['img_path'], remark)
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = image.shape[:2]
        results['ori_shape'] = image.shape[:2]
        return results

    def _decode(self, content: bytes) -> np.ndarray | None:
        image = mmcv.imfrombytes(content, flag=self.color_type, backend=self.imdecode_backend)
        return decode_with_pillow(content) if image is None and self.color_type == 'color' else image
