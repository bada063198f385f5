"""Pictures of results."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from mmmaskdino.results import label_map, one_mask
from mmmaskdino.visualization import MaskDINOVisualizer

FIELDS = dict(panoptic='pred_panoptic_seg', instances='pred_instances', semantic='pred_sem_seg')


def draw_result(
    image: np.ndarray,
    sample: BaseDataElement,
    dataset_meta: Mapping[str, Any],
    kind: str | None = None,
    max_side: int = 2048,
) -> np.ndarray:
    """Draw one kind of results on an image.

    Args:
        image: (h, w, 3) uint8, RGB.
        sample: Results in pixels of the image, on the CPU.
        dataset_meta: `classes` and, optionally, `palette`.
        kind: 'panoptic', 'instances' or 'semantic'; None for the first of these that is there.
        max_side: Longest side of the picture in pixels; a larger image is reduced.

    Returns:
        The picture, (h, w, 3) uint8, RGB.

    Raises:
        ValueError: There is no such result, or `max_side` is below 1.
    """
    kind = kind or next((kind for kind, field in FIELDS.items() if field in sample), 'instances')
    if kind not in FIELDS or FIELDS[kind] not in sample:
        there = [kind for kind, field in FIELDS.items() if field in sample]
        raise ValueError(f'the results are {" and ".join(there) or "none"}, so {kind} cannot be drawn')
    visualizer = MaskDINOVisualizer()
    visualizer.dataset_meta = dataset_meta
    scale = picture_scale(image.shape, max_side)
    picture = np.ascontiguousarray(_resize(image, scale, cv2.INTER_AREA))
    result = sample.get(FIELDS[kind])
    if kind == 'instances':
        return visualizer.draw_instances(picture, _resized_instances(result, scale))
    labels = _resize(label_map(result).astype(np.int32), scale, cv2.INTER_NEAREST)
    return visualizer.draw_panoptic(picture, PixelData(sem_seg=torch.from_numpy(labels)[None]))


def picture_scale(shape: tuple[int, ...], max_side: int) -> float:
    """What an image of a shape (height, width, ...) is reduced by for its picture; 1 for one that is small enough.

    Raises:
        ValueError: `max_side` is below 1.
    """
    check_side(max_side)
    return min(1.0, max_side / max(shape[:2]))


def check_side(max_side: int) -> None:
    """Reject a longest side of pictures that leaves nothing of them.

    Raises:
        ValueError: It is below 1.
    """
    if not max_side >= 1:
        raise ValueError(f'the longest side of a picture must be at least 1 pixel, got {max_side}')


def _resized_instances(instances: InstanceData, scale: float) -> InstanceData:
    if scale == 1:
        return instances
    resized = InstanceData(bboxes=instances.bboxes * scale, scores=instances.scores, labels=instances.labels)
    if 'masks' in instances and len(instances):
        masks = [_resize(one_mask(mask).astype(np.uint8), scale, cv2.INTER_NEAREST) for mask in instances.masks]
        resized.masks = torch.from_numpy(np.stack(masks)).bool()
    return resized


def _resize(array: np.ndarray, scale: float, interpolation: int) -> np.ndarray:
    if scale == 1:
        return array
    height, width = array.shape[:2]
    return cv2.resize(array, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=interpolation)
