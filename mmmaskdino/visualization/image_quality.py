"""How good the prediction for one image is: what sorts pictures."""

from __future__ import annotations

import numpy as np
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.structures.bbox import BaseBoxes, bbox_overlaps
from mmengine.structures import BaseDataElement, InstanceData
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

from mmmaskdino.evaluation.panoptic_quality import VOID, PanopticImage, count_matches
from mmmaskdino.results import label_map, mask_array

KINDS = ('panoptic', 'instances', 'semantic')
FIELDS = dict(panoptic='panoptic_seg', instances='instances', semantic='sem_seg')


def image_quality(sample: BaseDataElement, kind: str, num_classes: int, score_thr: float = 0.3) -> float:
    """Quality in [0, 1] of one image.

    Objects and panoptic segments: the IoU of matched pairs (same class, IoU above 0.5), added up and divided by the
    number of pairs and half the number of those without a partner: panoptic quality with all classes taken as one.
    Semantic: the mean IoU of the classes that are annotated or predicted. Where there is nothing to find and nothing
    is found, 1.

    Args:
        sample (BaseDataElement): Annotations and predictions, as :class:`PredictedDataset` gives them.
        kind (str): One of :data:`KINDS`.
        num_classes (int): Number of classes; higher values of maps are void.
        score_thr (float): Predicted objects with a lower score do not count.
    """
    sample = sample.cpu()
    if kind == 'instances':
        return _instance_quality(sample.gt_instances, sample.pred_instances, score_thr)
    gt, pred = (label_map(sample.get(f'{source}_{FIELDS[kind]}')) for source in ('gt', 'pred'))
    return (_panoptic_quality if kind == 'panoptic' else _mean_iou)(gt, pred, num_classes)


def comparable_kind(sample: BaseDataElement) -> str:
    """The first of :data:`KINDS` that is annotated and predicted.

    Raises:
        ValueError: If there is none.
    """
    for kind in KINDS:
        if f'gt_{FIELDS[kind]}' in sample and f'pred_{FIELDS[kind]}' in sample:
            return kind
    raise ValueError(f'nothing is both annotated and predicted: the sample has {sorted(sample.keys())}')


def _panoptic_quality(gt: np.ndarray, pred: np.ndarray, num_classes: int) -> float:
    matches = count_matches(_panoptic_image(gt, num_classes), _panoptic_image(pred, num_classes), num_classes)
    return _quality(*matches.counts.sum(0))


def _panoptic_image(values: np.ndarray, num_classes: int) -> PanopticImage:
    """From a map (h, w) of label + 1000 * instance."""
    id_map = np.where(values % INSTANCE_OFFSET < num_classes, values.astype(np.int64) + 1, VOID)
    ids = np.setdiff1d(id_map, [VOID])
    labels = (ids - 1) % INSTANCE_OFFSET
    return PanopticImage(id_map, ids, labels, np.zeros(len(ids), bool), 'map')


def _mean_iou(gt: np.ndarray, pred: np.ndarray, num_classes: int) -> float:
    known = gt < num_classes
    gt, pred = gt[known], pred[known].clip(max=num_classes)
    both = np.bincount(gt[gt == pred], minlength=num_classes + 1)
    union = np.bincount(gt, minlength=num_classes + 1) + np.bincount(pred, minlength=num_classes + 1) - both
    present = union[:num_classes] > 0
    return float((both[:num_classes][present] / union[:num_classes][present]).mean()) if present.any() else 1.0


def _instance_quality(gt: InstanceData, pred: InstanceData, score_thr: float) -> float:
    pred = pred[pred.scores >= score_thr]
    same_class = np.asarray(gt.labels)[:, None] == np.asarray(pred.labels)
    ious = _ious(gt, pred) * same_class
    rows, columns = linear_sum_assignment(-ious * (ious > 0.5))
    matched = ious[rows, columns]
    matched = matched[matched > 0.5]
    return _quality(matched.sum(), len(matched), len(pred) - len(matched), len(gt.labels) - len(matched))


def _quality(iou: float, pairs: float, wrong: float, missed: float) -> float:
    total = pairs + (wrong + missed) / 2
    return float(iou / total) if total else 1.0


def _ious(gt: InstanceData, pred: InstanceData) -> np.ndarray:
    """(num_gts, num_preds), of masks where both have them, else of boxes."""
    if not len(gt.labels) or not len(pred.labels):
        return np.zeros((len(gt.labels), len(pred.labels)))
    if 'masks' in gt and 'masks' in pred:
        masks, others = (_encoded(instances.masks) for instances in (gt, pred))
        return np.asarray(coco_mask.iou(masks, others, [0] * len(others)))
    boxes, others = (_boxes(instances) for instances in (gt, pred))
    return bbox_overlaps(boxes, others).numpy()


def _encoded(masks) -> list[dict]:
    """COCO's run lengths of masks in any form."""
    if isinstance(masks, list):
        return masks
    return coco_mask.encode(np.asfortranarray(mask_array(masks).astype(np.uint8).transpose(1, 2, 0)))


def _boxes(instances: InstanceData) -> torch.Tensor:
    boxes = instances.bboxes
    return (boxes.tensor if isinstance(boxes, BaseBoxes) else boxes).float()
