"""The parts of a model, be it a detector or a segmentor."""

from torch import nn


def head_of(model: nn.Module) -> nn.Module:
    """The Mask DINO head.

    Args:
        model: A detector or a segmentor with a head of this package, or one of their TTA wrappers.
    """
    return model.decode_head if hasattr(model, 'decode_head') else model.panoptic_head


def fusion_of(model: nn.Module) -> nn.Module:
    """The fusion head, which turns queries into results.

    Args:
        model: As of :func:`head_of`.
    """
    return model.decode_head.fusion if hasattr(model, 'decode_head') else model.panoptic_fusion_head
