"""Resizing as the published recipe does it: images smoothed where they are reduced, labels about their centres."""

from __future__ import annotations

from typing import Literal

import cv2
import mmcv
import numpy as np
import torch
from mmcv.transforms import RandomResize
from mmdet.datasets.transforms import Resize
from mmengine.registry import TRANSFORMS
from torch.nn import functional as F

from mmmaskdino.datasets.placement import resize_about_centers, resize_about_corners


@TRANSFORMS.register_module()
class AntialiasedResize(Resize):
    """mmdet's `Resize` with the pixels of Pillow, to one grey value, at a third of the time.

    Where an image is reduced, each new pixel is an average of all that it covers. OpenCV's bilinear interpolation reads
    four of them, however many there are, so that fine patterns turn into others.

    Keys as of mmdet's `Resize`; works in pipelines of mmseg too.

    Args:
        scale: New (width, height); with `keep_ratio` the longest and shortest side that the image is fitted into.
        scale_factor: In place of `scale`, how many times as wide and high.
        keep_ratio: Whether to keep the ratio of width and height.
        clip_object_border: Whether boxes are cut off at the border.
        labels: Where a new pixel of `gt_seg_map` reads the old map: at its `center`, or at its upper left `corner`, as
            OpenCV does, and with it the models of ADE20K that are published. gt_masks are always read at the centre.
    """

    def __init__(
        self,
        scale: int | tuple[float, float] | None = None,
        scale_factor: float | tuple[float, float] | None = None,
        keep_ratio: bool = False,
        clip_object_border: bool = True,
        labels: Literal['center', 'corner'] = 'center',
    ) -> None:
        super().__init__(scale, scale_factor, keep_ratio, clip_object_border)
        if labels not in ('center', 'corner'):
            raise ValueError(f"AntialiasedResize: labels must be 'center' or 'corner', got {labels!r}")
        self.labels = labels

    def _resize_img(self, results: dict) -> None:
        image = results['img']
        height, width = image.shape[:2]
        new_width, new_height = scale = results['scale']
        if self.keep_ratio:
            new_width, new_height = mmcv.rescale_size((width, height), scale)
        results['img'] = resize_image(image, (new_height, new_width))
        results['img_shape'] = (new_height, new_width)
        results['scale_factor'] = (new_width / width, new_height / height)
        results['keep_ratio'] = self.keep_ratio

    def _resize_masks(self, results: dict) -> None:
        if results.get('gt_masks') is not None:
            results['gt_masks'] = results['gt_masks'].resize(results['img_shape'])

    def _resize_seg(self, results: dict) -> None:
        if results.get('gt_seg_map') is not None:
            resize = resize_about_centers if self.labels == 'center' else resize_about_corners
            results['gt_seg_map'] = resize(results['gt_seg_map'], results['img_shape'])

    def __repr__(self) -> str:
        return f'{super().__repr__()[:-1]}, labels={self.labels!r})'


@TRANSFORMS.register_module()
class LargeScaleJitter(RandomResize):
    """mmcv's `RandomResize` with the size drawn as a real number; the sides are rounded, once.

    mmcv cuts the drawn size to whole pixels before the sides follow from it, so that images are half a pixel smaller on
    average: much where a photograph is drawn at a tenth of its size.
    """

    @staticmethod
    def _random_sample_ratio(scale: tuple[int, int], ratio_range: tuple[float, float]) -> tuple[float, float]:
        ratio = np.random.uniform(*ratio_range)
        return scale[0] * ratio, scale[1] * ratio


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image bilinearly, smoothed along an axis that gets shorter.

    Args:
        image: (h, w) or (h, w, channels) uint8 or float32.
        size: New (h, w).

    Returns:
        (new h, new w) or (new h, new w, channels), within one grey value of what Pillow makes of it.
    """
    height, width = image.shape[:2]
    if size[0] >= height and size[1] >= width:  # nothing to smooth, and OpenCV is quicker
        return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    planes = torch.from_numpy(np.ascontiguousarray(image)).view(height, width, -1).permute(2, 0, 1)
    resized = F.interpolate(planes[None], size=size, mode='bilinear', antialias=True, align_corners=False)[0]
    return np.ascontiguousarray(resized.permute(1, 2, 0).numpy()).reshape(*size, *image.shape[2:])
