"""Boxes, labels and masks from a COCO instance file."""

import warnings
from typing import Any

import torch
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes

from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.object_masks import ObjectMasks


@TRANSFORMS.register_module()
class LoadCheckedAnnotations(LoadAnnotations):
    """Load objects like mmdet's `LoadAnnotations`, but let their masks be what was annotated until the final size.

    mmdet draws polygons at the size of the file, and each resize moves them by half a pixel; with `poly2mask=False` it
    drops what is given in run lengths silently.

    Required Keys:

    - instances: `bbox`, `bbox_label`, `ignore_flag`, `mask` (COCO's polygons or RLE), and `annotation_id` (optional) of
      each object
    - ori_shape, if masks are wanted

    Added Keys:

    - gt_bboxes: HorizontalBoxes (num_gts, 4), xyxy in pixels; with masks their extents, else the boxes of the file
    - gt_bboxes_labels: (num_gts,) int64
    - gt_ignore_flags: (num_gts,) bool
    - gt_masks: :class:`ObjectMasks`, if wanted

    Takes the arguments of mmdet's `LoadAnnotations`, without `poly2mask`.
    """

    def __init__(self, **kwargs: Any) -> None:
        if 'poly2mask' in kwargs:
            raise ValueError('LoadAnnotations: remove poly2mask; masks are drawn once, at the final size')
        super().__init__(**kwargs)

    def _load_masks(self, results: dict) -> None:
        instances = results['instances']
        names = [instance.get('annotation_id') for instance in instances]
        try:
            masks = ObjectMasks([instance['mask'] for instance in instances], *results['ori_shape'], names)
        except ValueError as error:
            raise DataError(str(error)) from error
        extents = masks.get_extents()
        for name, box in zip(names, extents, strict=True):
            if (box[2:] == box[:2]).all():
                warnings.warn(f'{results["img_path"]}: annotation {name} marks no pixel and is left out', stacklevel=2)
        results['gt_masks'] = masks
        results['gt_bboxes'] = HorizontalBoxes(torch.from_numpy(extents))
