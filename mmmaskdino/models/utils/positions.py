"""Sine encoding of coordinates."""

import math

import torch
from torch import Tensor


def sine_frequencies(num_features: int, device: torch.device) -> Tensor:
    """(num_features / 2,) angles per unit of a coordinate in [0, 1]: from one turn down to a ten thousandth of it.

    Each gives a sine and a cosine, so a coordinate has ``num_features`` of them. They are computed in float32 whenever
    they are needed: as buffers they would become half precision with the model, and cells would share positions.
    """
    return 2 * math.pi * 10000 ** -(torch.arange(0, num_features, 2, device=device) / num_features)
