"""Scenes whose objects are known, and a model that predicts the truth of what it sees."""

from __future__ import annotations

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from scipy import ndimage


def draw_scene(size: tuple[int, int], seed: int = 0, count: int = 25, first_stuff: int = 2) -> np.ndarray:
    """(height, width, 3) uint8: number of the object (0: ground), its class, and a texture.

    Discs (class 1) and bars (class 0) of all sizes that hide one another, over two kinds of ground (`first_stuff` and
    the class after it). Visible parts that lie apart are objects of their own.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    owner, label = np.zeros(size, int), np.where(rows + columns < sum(size) / 2, first_stuff, first_stuff + 1)
    for number in range(1, count + 1):
        y, x = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        angle, long, wide = rng.uniform(0, np.pi), rng.uniform(4, max(size) / 3), rng.uniform(4, 30)
        along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
        across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
        inside = np.hypot(along, across) < wide if number % 2 else (abs(along) < long) & (abs(across) < wide / 2)
        owner[inside], label[inside] = number, number % 2
    numbers = np.zeros(size, np.uint8)
    total = 0
    for number in np.unique(owner[owner > 0]):
        parts, found = ndimage.label(owner == number)
        for part in range(1, found + 1):
            if (parts == part).sum() >= 40:
                total += 1
                numbers[parts == part] = total
            else:
                label[parts == part] = first_stuff
    return np.stack([numbers, label.astype(np.uint8), np.full(size, 128, np.uint8)], -1)


def true_sample(image: np.ndarray, split: bool = False) -> DetDataSample:
    """What a perfect model says of an image (h, w, 3) of a scene, or of a part of it.

    Args:
        image: As of :func:`draw_scene`.
        split: Whether parts of an object that are apart in the image are taken for several.
    """
    numbers, label = image[..., 0].astype(int), image[..., 1].astype(int)
    masks = []
    for number in np.unique(numbers[numbers > 0]):
        parts, count = ndimage.label(numbers == number) if split else ((numbers == number).astype(int), 1)
        masks += [parts == part for part in range(1, count + 1)]
    labels = [int(label[mask][0]) for mask in masks]
    panoptic = label.astype(np.int32)
    boxes = []
    for number, mask in enumerate(masks, start=1):
        panoptic[mask] = labels[number - 1] + 1000 * number
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    sample = DetDataSample(metainfo=dict(img_shape=label.shape, ori_shape=label.shape))
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.long),
        scores=torch.full((len(masks),), 0.9),
        masks=torch.from_numpy(np.array(masks, bool).reshape(-1, *label.shape)),
    )
    sample.pred_panoptic_seg = PixelData(sem_seg=torch.from_numpy(panoptic)[None])
    sample.pred_sem_seg = PixelData(sem_seg=torch.from_numpy(label)[None])
    return sample
