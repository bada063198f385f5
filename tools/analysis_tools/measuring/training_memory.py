"""How much memory a training step needs, from three small steps on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from mmmaskdino.memory_model import TrainingMemory

from .models import Case, Subject, build_model

# Sizes at which what a step stores is measured; between and beyond them it grows with the number of pixels.
SMALL, LARGE = (256, 256), (384, 384)
# Parameter, gradient, and the two moments of AdamW, in float32 also in mixed precision.
BYTES_PER_PARAMETER = 16


def training_memory(name: str, options: Mapping[str, Any] | None = None, half: bool = False) -> TrainingMemory:
    """Measure what a model stores.

    Args:
        name (str): As of :func:`measuring.models.build_model`.
        options (Mapping | None): Changes of the config by dotted key.
        half (bool): Whether training runs under autocast.
    """
    subject = Subject(build_model(name, options))
    cases = (Case(True, SMALL), Case(True, SMALL, bs=2), Case(True, LARGE))
    small, two_small, large = (stored_bytes(subject, case, half) for case in cases)
    parameters = sum(p.numel() for p in subject.model.parameters() if p.requires_grad)
    fixed = parameters * BYTES_PER_PARAMETER + 2 * small - two_small
    per_pixel = (large - small) / (LARGE[0] * LARGE[1] - SMALL[0] * SMALL[1])
    return TrainingMemory(fixed, two_small - small - per_pixel * SMALL[0] * SMALL[1], per_pixel)


def stored_bytes(subject: Subject, case: Case, half: bool) -> int:
    """Bytes that the forward pass of a training step keeps for the backward pass, parameters left out."""
    own = {x.untyped_storage().data_ptr() for x in (*subject.model.parameters(), *subject.model.buffers())}
    stored: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own:
            stored.setdefault(place, tensor)  # kept, so that no other tensor takes its place
        return tensor

    context = torch.autocast('cpu', dtype=torch.bfloat16) if half else nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), context:
        subject.loss(case)
    return sum(tensor.untyped_storage().nbytes() for tensor in stored.values())
