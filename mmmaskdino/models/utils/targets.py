"""Training targets from data samples."""

from collections.abc import Sequence

import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from mmmaskdino.structures import Targets

from .boxes import masks_to_boxes, normalize_boxes


def targets_from_samples(
    samples: Sequence[DetDataSample], num_things: int, num_stuff: int, with_masks: bool, device: torch.device
) -> list[Targets]:
    """Things from ``gt_instances`` and, in panoptic models, stuff from ``gt_sem_seg``: one object per class present.

    Args:
        samples (Sequence[DetDataSample]): Ground truth, masks padded to ``batch_input_shape``.
        num_things (int): Thing classes, labels [0, num_things).
        num_stuff (int): Stuff classes, labels [num_things, num_things + num_stuff).
        with_masks (bool): Whether the model has masks.
        device (torch.device): Device of the model.

    Returns:
        list[Targets]: Boxes normalised by the padded canvas.

    Raises:
        ValueError: If an image lacks what the model needs, or its masks are not of the canvas' size.
    """
    things = [_things(sample, with_masks, device) for sample in samples]
    for sample, targets in zip(samples, things, strict=True):
        _check(sample, targets, num_stuff)
    if not num_stuff:
        return things
    labels = torch.arange(num_things, num_things + num_stuff)
    stuff = _stuff(torch.stack([s.gt_sem_seg.sem_seg[0] for s in samples]).to(device), labels)
    return [
        Targets(*(torch.cat(fields) if fields[0] is not None else None for fields in zip(a, b, strict=True)))
        for a, b in zip(things, stuff, strict=True)
    ]


def _things(sample: DetDataSample, with_masks: bool, device: torch.device) -> Targets:
    instances = sample.gt_instances
    bboxes = instances.bboxes if isinstance(instances.bboxes, Tensor) else instances.bboxes.tensor
    boxes = normalize_boxes(bboxes.to(device), sample.batch_input_shape)
    masks = None
    if with_masks:
        if 'masks' not in instances:
            raise ValueError(
                f'{_name(sample)}: the model predicts masks, but the ground truth has none. Load them with '
                'with_mask=True in the training pipeline, or leave masks out of the model (mask_dims=None).'
            )
        masks = instances.masks
        masks = masks if isinstance(masks, Tensor) else masks.to_tensor(torch.uint8, 'cpu')
        masks = masks.to(device, non_blocking=True).bool()
    labels = instances.labels.to(device)
    return Targets(labels, boxes, masks, torch.ones_like(labels, dtype=torch.bool))


def _stuff(sem_seg: Tensor, stuff_labels: Tensor) -> list[Targets]:
    """Stuff objects of a batch of label maps (bs, h, w); the classes present reach the host in one copy."""
    # One flag per image and label; labels outside (255: nothing labelled) share the flags' last place.
    last = int(stuff_labels[-1]) + 1
    flags = torch.zeros(len(sem_seg), last + 1, dtype=torch.bool, device=sem_seg.device)
    flags.scatter_(1, sem_seg.flatten(1).long().clamp(max=last), True)
    present = flags.cpu()[:, stuff_labels]
    targets = []
    for label_map, flag in zip(sem_seg, present, strict=True):
        labels = stuff_labels[flag].to(sem_seg.device, non_blocking=True)
        masks = label_map[None] == labels[:, None, None]
        boxes = normalize_boxes(masks_to_boxes(masks)[0], label_map.shape)
        targets.append(Targets(labels, boxes, masks, torch.zeros_like(labels, dtype=torch.bool)))
    return targets


def _check(sample: DetDataSample, targets: Targets, num_stuff: int) -> None:
    canvas = tuple(sample.batch_input_shape)
    if targets.masks is not None and tuple(targets.masks.shape[1:]) != canvas:
        raise ValueError(
            f'{_name(sample)}: masks of {tuple(targets.masks.shape[1:])} on a canvas of {canvas}. '
            'Set pad_mask=True in the data_preprocessor.'
        )
    if num_stuff and 'gt_sem_seg' not in sample:
        raise ValueError(
            f'{_name(sample)}: the model has {num_stuff} stuff classes, but the ground truth has no semantic map. '
            'Load it with LoadCocoPanopticAnnotations in the training pipeline.'
        )
    if num_stuff and tuple(sample.gt_sem_seg.sem_seg.shape[-2:]) != canvas:
        raise ValueError(
            f'{_name(sample)}: a semantic map of {tuple(sample.gt_sem_seg.sem_seg.shape[-2:])} '
            f'on a canvas of {canvas}. Set pad_seg=True in the data_preprocessor.'
        )


def _name(sample: DetDataSample) -> str:
    return str(sample.get('img_path', f'image {sample.get("img_id", "without name")}'))
