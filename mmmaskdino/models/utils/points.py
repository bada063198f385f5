"""Point sampling: the loss and the matching look at masks only in random points (PointRend)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .host import from_host


def sample_features(features: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples of feature maps.

    The sample of a dot product is the dot product of the sample, so a mask logit in a point is
    ``mask_embed @ sample_features(mask_features, point)``: no mask map is needed.

    Args:
        features (Tensor): (bs, dim, h, w).
        points (Tensor): (bs, num_points, 2), (x, y) in [0, 1].

    Returns:
        Tensor: (bs, dim, num_points) float32.
    """
    grid = 2 * points[:, None] - 1
    return F.grid_sample(features.float(), grid.float(), align_corners=False)[:, :, 0]


def sample_binary_masks(masks: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples of binary masks, without a float copy of them.

    Args:
        masks (Tensor): (num_masks, h, w) bool.
        points (Tensor): (num_points, 2), (x, y) in [0, 1].

    Returns:
        Tensor: (num_masks, num_points) float32 in [0, 1]; what lies outside the mask counts as 0.
    """
    h, w = masks.shape[-2:]
    masks = masks.flatten(1)
    position = points.float() * from_host([w, h], points) - 0.5
    corner = position.floor()
    fraction = position - corner
    corner = corner.long()
    total = 0
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
            weight_x = fraction[:, 0] if dx else 1 - fraction[:, 0]
            weight_y = fraction[:, 1] if dy else 1 - fraction[:, 1]
            index = y.clamp(0, h - 1) * w + x.clamp(0, w - 1)
            total = total + masks[:, index] * (weight_x * weight_y * inside)
    return total


def move_out(points: Tensor, ignored: Tensor) -> Tensor:
    """Replace points in ignored pixels by uniformly random ones elsewhere, without waiting for the device.

    Args:
        points (Tensor): (num_points, 2), (x, y) in [0, 1).
        ignored (Tensor): (h, w) bool. Where all is True, points lie anywhere; there is no object then.

    Returns:
        Tensor: (num_points, 2).
    """
    h, w = ignored.shape
    size = from_host([w, h], points)
    x, y = (points * size).long().unbind(-1)
    inside = ignored[y.clamp(0, h - 1), x.clamp(0, w - 1)]
    # Each pixel that is not ignored is one step of this staircase, so a uniform height picks a uniform pixel.
    staircase = (~ignored).flatten().cumsum(0)
    height = (torch.rand_like(points[:, 0]) * staircase[-1]).long() + 1
    pixels = torch.searchsorted(staircase, height).clamp(max=h * w - 1)
    corner = torch.stack([pixels % w, pixels // w], -1)
    moved = (corner + torch.rand_like(points)) / size
    return torch.where(inside[:, None], moved, points)
