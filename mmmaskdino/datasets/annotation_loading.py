"""Boxes, labels and masks from COCO's instance files and panoptic PNGs."""

import warnings
from typing import Any

import numpy as np
import torch
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes

from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.object_masks import ObjectMasks, segment_masks
from mmmaskdino.datasets.panoptic_png import read_segment_map


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


@TRANSFORMS.register_module()
class LoadCocoPanopticAnnotations(LoadAnnotations):
    """Load panoptic annotations in one pass over the PNG; panopticapi is not needed.

    Required Keys:

    - img_path, ori_shape
    - seg_map_path
    - instances: `bbox`, `bbox_label`, `ignore_flag` of each thing that is no crowd
    - segments_info: `id`, `category` (label), `is_thing` (False for stuff and for crowds) of each segment; its things
      are in the order of the instances
    - segments_left_out (optional): ids of the segments that the json gives no area

    Added Keys:

    - gt_bboxes: HorizontalBoxes (num_gts, 4), xyxy in pixels: of the pixels, whatever the json says
    - gt_bboxes_labels: (num_gts,) int64
    - gt_ignore_flags: (num_gts,) bool
    - gt_masks: :class:`ObjectMasks` of the same things, with the ids of their segments. A crowd has no mask
    - gt_seg_map: (h, w) labels of stuff, things and crowds, `ignore_index` where the PNG is void; uint8, or int32 where
      `ignore_index` needs it
    - ignore_index

    Args:
        ignore_index: Label of void. Beyond 255 classes choose a larger one, and give the same to `seg_pad_value` of the
            data preprocessor.
        backend_args: Arguments of mmengine's file backend.
    """

    def __init__(self, ignore_index: int = 255, backend_args: dict[str, Any] | None = None) -> None:
        super().__init__(with_mask=True, with_seg=True, ignore_index=ignore_index, backend_args=backend_args)

    def transform(self, results: dict) -> dict:
        """Load the annotations.

        Args:
            results: See the required keys.

        Returns:
            The results with the added keys.

        Raises:
            DataError: The PNG is unreadable, has another size than the image, or its ids and the json's disagree.
        """
        self._load_bboxes(results)
        self._load_labels(results)
        segments = results['segments_info']
        segment_map = read_segment_map(results, self.backend_args)

        labels = np.array([self.ignore_index, *(segment['category'] for segment in segments)], dtype=np.int32)
        if (labels[1:] >= self.ignore_index).any():
            raise DataError(
                f'{results["seg_map_path"]}: label {labels[1:].max()} does not fit below the label of void, '
                f'{self.ignore_index}; set ignore_index of LoadCocoPanopticAnnotations and seg_pad_value of the data '
                'preprocessor to a number above the class count'
            )
        if self.ignore_index <= np.iinfo(np.uint8).max:
            labels = labels.astype(np.uint8)
        results['gt_seg_map'] = labels[segment_map]
        results['ignore_index'] = self.ignore_index

        things = {number: segment['id'] for number, segment in enumerate(segments, 1) if segment['is_thing']}
        results['gt_masks'] = segment_masks(segment_map, list(things), list(things.values()))
        results['gt_bboxes'] = HorizontalBoxes(torch.from_numpy(results['gt_masks'].get_extents()))
        return results
