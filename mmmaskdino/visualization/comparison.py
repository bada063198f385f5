"""Pictures of ground truth beside prediction, for people to judge."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import BaseBoxes
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from mmmaskdino.results import label_map, mask_array
from mmmaskdino.visualization.local_visualizer import MaskDINOVisualizer

READABLE_SIDE = 384  # pixels; smaller images are enlarged by a whole number, or names and lines would cover them
GAP = 4
TITLE_HEIGHT = 26


def draw_comparison(
    image: np.ndarray,
    data_sample: BaseDataElement,
    dataset_meta: dict,
    name: str = 'image',
    scale: float | None = None,
    score_thr: float = 0.3,
) -> np.ndarray:
    """Draw an image, its objects, panoptic segments and classes, each annotated and predicted, side by side.

    Args:
        image: (h, w, 3) uint8, RGB.
        data_sample: Any of gt_instances, pred_instances, gt_panoptic_seg, pred_panoptic_seg, pred_sem_seg (and then
            gt_sem_seg), in pixels of the image; each gives one column.
        dataset_meta: 'classes' and, optionally, 'palette'.
        name: Title of the column with the image.
        scale: Factor by which to enlarge the image; None enlarges small images so that the names can be read.
        score_thr: Predicted objects with a lower score are left out.

    Returns:
        (height, width, 3) uint8, RGB; a row of titled columns.

    Raises:
        ValueError: A mask or a segment map has another size than the image.
    """
    scale = scale or max(1, round(READABLE_SIDE / max(image.shape[:2])))
    data_sample = data_sample.cpu()
    visualizer = MaskDINOVisualizer(line_width=2, alpha=0.6)
    visualizer.dataset_meta = dataset_meta
    enlarged = _enlarge(image, scale, cv2.INTER_CUBIC)
    columns = [_titled(enlarged, name)]
    for key, title in (
        ('gt_instances', 'objects: ground truth'),
        ('pred_instances', f'objects: prediction, score >= {score_thr}'),
    ):
        if key in data_sample:
            instances = _enlarge_instances(data_sample.get(key), image.shape[:2], scale, score_thr)
            columns.append(_titled(visualizer.draw_instances(enlarged, instances), title))
    for key, title, segments in _segment_maps(data_sample, len(dataset_meta['classes'])):
        _check_size(segments.shape, image.shape[:2], key)
        segments = PixelData(sem_seg=_enlarge(segments.astype(np.int32), scale, cv2.INTER_NEAREST)[None])
        columns.append(_titled(visualizer.draw_panoptic(enlarged, segments), title))
    return _join(columns, axis=1)


def draw_contact_sheet(pictures: Sequence[np.ndarray], max_width: int = 1920) -> np.ndarray:
    """Put pictures below one another.

    Args:
        pictures: At least one, (height, width, 3) uint8; the widths may differ.
        max_width: Width in pixels to which wider pictures are reduced.

    Returns:
        (height, width, 3) uint8.
    """
    reduced = [_enlarge(p, min(1, max_width / p.shape[1]), cv2.INTER_AREA) for p in pictures]
    width = max(p.shape[1] for p in reduced)
    return _join([cv2.copyMakeBorder(p, 0, 0, 0, width - p.shape[1], *_WHITE) for p in reduced], axis=0)


def panoptic_ground_truth(data_sample: DetDataSample, num_classes: int) -> PixelData:
    """The annotated panoptic segments in the form of a prediction.

    Args:
        data_sample: gt_instances with masks, and gt_sem_seg with labels of stuff and things; pixels of another value
            are void.
        num_classes: Number of classes, things and stuff.

    Returns:
        sem_seg (1, h, w) int32 of label + 1000 * instance, num_classes where void.
    """
    labels = np.asarray(data_sample.gt_sem_seg.sem_seg).astype(np.int32)[0]
    segments = np.where(labels < num_classes, labels, num_classes)
    instances = data_sample.gt_instances
    for number, (mask, label) in enumerate(zip(mask_array(instances.masks), instances.labels, strict=True), start=1):
        segments[mask] = int(label) + INSTANCE_OFFSET * number
    return PixelData(sem_seg=torch.from_numpy(segments[None]))


def _segment_maps(data_sample: BaseDataElement, num_classes: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Key, title and map (h, w) of label + 1000 * instance of each panoptic and each semantic segmentation."""
    for kind, title in (('panoptic_seg', 'panoptic'), ('sem_seg', 'classes')):
        # Annotated classes come with panoptic annotations too, so they are drawn only where classes are predicted.
        sources = ('gt', 'pred') if kind == 'panoptic_seg' or 'pred_sem_seg' in data_sample else ()
        for source in sources:
            key = f'{source}_{kind}'
            if key in data_sample:
                segments = label_map(data_sample.get(key))
                if kind == 'sem_seg':
                    segments = np.minimum(segments, num_classes)  # 255 becomes void
                yield key, f'{title}: {dict(gt="ground truth", pred="prediction")[source]}', segments


def _enlarge_instances(instances: InstanceData, size: tuple, scale: float, score_thr: float) -> InstanceData:
    """Boxes and masks on the enlarged image, without those of low score."""
    if 'scores' in instances:
        instances = instances[instances.scores >= score_thr]
    boxes = instances.bboxes.tensor if isinstance(instances.bboxes, BaseBoxes) else instances.bboxes
    enlarged = InstanceData(bboxes=boxes * scale, labels=instances.labels)
    if 'scores' in instances:
        enlarged.scores = instances.scores
    if 'masks' in instances:
        masks = mask_array(instances.masks)
        if len(masks) or not isinstance(instances.masks, list):  # an empty list has no size
            _check_size(masks.shape[1:], size, 'masks')
        if len(masks):
            masks = np.stack([_enlarge(mask.astype(np.uint8), scale, cv2.INTER_NEAREST) for mask in masks])
        enlarged.masks = masks.astype(bool)
    return enlarged


def _check_size(found: tuple, expected: tuple, key: str) -> None:
    if tuple(found) != tuple(expected):
        raise ValueError(f'{key}: expected the size of the image (height, width) {tuple(expected)}, got {tuple(found)}')


_WHITE = (cv2.BORDER_CONSTANT, None, (255, 255, 255))


def _enlarge(array: np.ndarray, scale: float, interpolation: int) -> np.ndarray:
    height, width = array.shape[:2]
    return cv2.resize(array, (round(width * scale), round(height * scale)), interpolation=interpolation)


def _titled(picture: np.ndarray, title: str) -> np.ndarray:
    """The picture below a line of text, which is cut where the picture ends."""
    bar = np.full((TITLE_HEIGHT, picture.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, title, (4, TITLE_HEIGHT - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([bar, picture])


def _join(pictures: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Pictures side by side or below one another, with a white line between."""
    margins = (0, GAP, 0, 0) if axis == 0 else (0, 0, 0, GAP)
    padded = [cv2.copyMakeBorder(picture, *margins, *_WHITE) for picture in pictures[:-1]]
    return np.concatenate([*padded, pictures[-1]], axis=axis)
