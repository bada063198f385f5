"""Training targets from data samples."""

from collections.abc import Sequence

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
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
    label_maps = torch.stack([s.gt_sem_seg.sem_seg[0] for s in samples]).to(device, non_blocking=True)
    # As in the reference: pixels of no segment are background of all masks, not ignored.
    stuff = [target._replace(ignored=None) for target in targets_from_label_maps(label_maps, labels)]
    return [
        Targets(*(torch.cat(fields) if fields[0] is not None else None for fields in zip(a, b, strict=True)))
        for a, b in zip(things, stuff, strict=True)
    ]


def _things(sample: DetDataSample, with_masks: bool, device: torch.device) -> Targets:
    instances = sample.gt_instances
    bboxes = instances.bboxes if isinstance(instances.bboxes, Tensor) else instances.bboxes.tensor
    boxes = normalize_boxes(bboxes.to(device, non_blocking=True), sample.batch_input_shape)
    masks = None
    if with_masks:
        if 'masks' not in instances:
            raise ValueError(
                f'{_name(sample)}: the model predicts masks, but the ground truth has none. Load them with '
                'with_mask=True in the training pipeline, or leave masks out of the model (mask_dims=None).'
            )
        masks = instances.masks
        if type(masks) is BitmapMasks:  # its to_tensor waits for the device
            masks = torch.from_numpy(masks.masks)
        elif not isinstance(masks, Tensor):
            masks = masks.to_tensor(torch.bool, device)
        masks = masks.to(device, non_blocking=True).bool()
    labels = instances.labels.to(device, non_blocking=True)
    return Targets(labels, boxes, masks, torch.ones_like(labels, dtype=torch.bool))


def targets_from_label_maps(label_maps: Tensor, labels: Tensor) -> list[Targets]:
    """One object per class present; which classes are, reaches the CPU in one copy for the whole batch.

    Args:
        label_maps (Tensor): (bs, h, w) integers.
        labels (Tensor): (num_classes,) int64 on the CPU, ascending: the classes of interest.

    Returns:
        list[Targets]: No object is a thing; pixels with labels above the last of ``labels`` (255) are ignored.
    """
    # One flag per image and label; labels above the last share the flags' last place.
    last = int(labels[-1]) + 1
    flags = torch.zeros(len(label_maps), last + 1, dtype=torch.bool, device=label_maps.device)
    flags.scatter_(1, label_maps.flatten(1).long().clamp(max=last), True)
    return [_stuff(label_map, labels, flag) for label_map, flag in zip(label_maps, flags.cpu(), strict=True)]


def _stuff(label_map: Tensor, all_labels: Tensor, present: Tensor) -> Targets:
    """Objects of a label map (h, w); ``present``, on the CPU, has a flag per label and one for all above the last."""
    labels = all_labels[present[all_labels]].to(label_map.device, non_blocking=True)
    masks = label_map[None] == labels[:, None, None]
    boxes = normalize_boxes(masks_to_boxes(masks)[0], label_map.shape)
    ignored = label_map > all_labels[-1].item() if present[-1] else None
    return Targets(labels, boxes, masks, torch.zeros_like(labels, dtype=torch.bool), ignored)


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
