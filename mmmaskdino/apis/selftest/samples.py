"""Random batches, the same for every model."""

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from mmmaskdino.structures import Shape


def make_batch(
    bs: int, size: Shape, num_objects: int, num_classes: int = 80, num_stuff: int = 0, device: str = 'cpu'
) -> tuple[Tensor, list[DetDataSample]]:
    """Images of noise with random rectangles as objects.

    Args:
        bs (int): Images.
        size (Shape): Their height and width, a multiple of 32.
        num_objects (int): Objects of each image.
        num_classes (int): Classes of the objects.
        num_stuff (int): Stuff classes, numbered after the others; some are in each image.
        device (str): Where images and boxes are; masks stay on the CPU, as a data loader leaves them.

    Returns:
        tuple[Tensor, list[DetDataSample]]: Normalised images (bs, 3, h, w) and their ground truth.
    """
    samples = [_sample(size, num_objects, num_classes, num_stuff).to(device) for _ in range(bs)]
    return torch.randn(bs, 3, *size).to(device), samples


def _sample(size: Shape, num_objects: int, num_classes: int, num_stuff: int) -> DetDataSample:
    h, w = size
    corners = 0.6 * torch.rand(num_objects, 2)
    boxes = torch.cat([corners, corners + 0.05 + 0.3 * torch.rand(num_objects, 2)], 1) * torch.tensor([w, h, w, h])
    x, y = torch.arange(w), torch.arange(h)[:, None]
    x1, y1, x2, y2 = boxes[..., None, None].unbind(1)
    masks = (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
    meta = dict(img_shape=size, ori_shape=size, batch_input_shape=size, pad_shape=size, scale_factor=(1.0, 1.0))
    instances = InstanceData(bboxes=boxes, labels=torch.randint(num_classes, (num_objects,)))
    instances.masks = BitmapMasks(masks.numpy().astype('uint8'), h, w)
    sample = DetDataSample(metainfo=meta, gt_instances=instances)
    if num_stuff:
        stripes = num_classes + 5 * x // w % num_stuff
        sample.gt_sem_seg = PixelData(sem_seg=stripes.expand(1, h, w).contiguous())
    return sample
