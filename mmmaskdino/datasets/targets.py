"""The last steps of a training pipeline: what the crop left becomes the targets."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.datasets.transforms import RandomCrop
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type

from mmmaskdino.datasets.object_masks import ObjectMasks


@TRANSFORMS.register_module()
class DrawTargets(BaseTransform):
    """Draw the masks at the size they have by now, take the boxes from them, and drop what is no target.

    No targets are crowds and objects of which nothing lies on the image. An object too small for a pixel remains,
    with an empty mask and a box of its real size. Without this step everything is right as well, but masks are drawn
    in the process that trains, and boxes are the objects' extents before the crop.

    Required Keys:

    - gt_masks (:class:`ObjectMasks` or mmdet's bitmaps), gt_bboxes, gt_bboxes_labels
    - gt_ignore_flags (optional)

    Modified Keys:

    - gt_masks (ObjectMasks of bitmaps around the objects), gt_bboxes, gt_bboxes_labels, gt_ignore_flags
    """

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Draw the targets.

        Args:
            results: See the required keys.

        Returns:
            The results with the modified keys.
        """
        masks = results['gt_masks']
        if not isinstance(masks, ObjectMasks):
            masks = ObjectMasks(masks.masks, masks.height, masks.width)
        wanted = np.flatnonzero(~results.get('gt_ignore_flags', np.zeros(len(masks), dtype=bool)))
        masks = masks[wanted]
        remaining = masks.remaining()
        results['gt_masks'] = masks.rasterized()[remaining]
        results['gt_bboxes'] = masks.get_bboxes(type(results['gt_bboxes']))[remaining]
        for key in ('gt_bboxes_labels', 'gt_ignore_flags'):
            if key in results:
                results[key] = results[key][wanted][remaining]
        return results


@TRANSFORMS.register_module()
class DiagonalRandomCrop(RandomCrop):
    """mmdet's `RandomCrop` as the official code draws it: one random number places the window along both axes."""

    @cache_randomness
    def _rand_offset(self, margin: tuple[int, int]) -> tuple[Any, ...]:
        fraction = np.random.uniform()
        return tuple(round(fraction * length) for length in margin)
