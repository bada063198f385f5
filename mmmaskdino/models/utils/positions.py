"""Sine encoding of coordinates."""

import math

import torch
from torch import Tensor

from mmmaskdino.ops.device import without_autocast


def sine_frequencies(num_features: int, device: torch.device) -> Tensor:
    """(num_features / 2,) angles per unit of a coordinate in [0, 1]: from one turn down to a ten thousandth of it.

    Each gives a sine and a cosine, so a coordinate has ``num_features`` of them. They are computed in float32 whenever
    they are needed: as buffers they would become half precision with the model, and cells would share positions.
    """
    return 2 * math.pi * 10000 ** -(torch.arange(0, num_features, 2, device=device) / num_features)


def encode_boxes(boxes: Tensor, num_features: int) -> Tensor:
    """(bs, n, 4 * num_features) float32 encoding of y, x, w, h of cxcywh boxes (bs, n, 4) in [0, 1]."""
    # Sine of large arguments: in float32 whatever autocast says.
    with without_autocast(boxes):
        x, y, w, h = boxes.float().unbind(-1)
        angles = torch.stack([y, x, w, h], -1)[..., None] * sine_frequencies(num_features, boxes.device)
        return torch.stack([angles.sin(), angles.cos()], -1).flatten(-3)
