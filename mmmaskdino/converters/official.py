"""Whole models of the official Mask DINO release (detectron2 names) and of detrex, which has the same names."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .conversion import UNCOUNTED, Conversion, join, rename
from .official_head import convert_head, restore_head
from .resnet import convert_resnet, restore_resnet
from .swin import convert_swin, restore_swin

DROPS = {
    r'criterion\.empty_weight$': 'class weights of the loss, which the config gives',
    r'pixel_(mean|std)$': 'normalisation of images, which the config gives',
}
_WHAT = "an official Mask DINO: expected names with 'backbone.' or 'sem_seg_head.'"
# The reference's, in every released model; only its semantic models use it.
NO_OBJECT_WEIGHT = 0.1


def convert_model(official: Mapping[str, Tensor], head_prefix: str = 'panoptic_head.') -> Conversion:
    """Convert a whole model.

    Args:
        official (Mapping[str, Tensor]): Official state dict (``backbone.``, ``sem_seg_head.``, ``criterion.``).
        head_prefix (str): Where the model has its :class:`MaskDINOHead`.

    Returns:
        Conversion: State dict of the model.

    Raises:
        ValueError: If a name is unknown.
    """
    parts, rest = split(official, ('backbone.', 'sem_seg_head.'))
    others = rename(rest, lambda name: None, _WHAT, DROPS)
    backbone = convert_backbone(parts['backbone.'])._replace(absent={})
    head = convert_head(parts['sem_seg_head.'])
    return join(backbone.renamed('backbone.', 'backbone.'), head.renamed('sem_seg_head.', head_prefix), others)


def convert_backbone(official: Mapping[str, Tensor]) -> Conversion:
    """Convert a ResNet or Swin Transformer of detectron2; names without prefix."""
    is_swin = any(name.startswith('patch_embed.') for name in official)
    return convert_swin(official) if is_swin else convert_resnet(official)


def restore_model(
    ours: Mapping[str, Tensor], coarsest_first: bool, frozen_norms: bool = True, head_prefix: str = 'panoptic_head.'
) -> Conversion:
    """The way back to the official names.

    Args:
        ours (Mapping[str, Tensor]): State dict of a model with a ResNet or a Swin Transformer.
        coarsest_first (bool): Level order of the official encoder (``FEATURE_ORDER``: True for ``high2low``).
        frozen_norms (bool): Whether the official backbone has frozen batch norms, which count no batches.
        head_prefix (str): Where the model has its :class:`MaskDINOHead`.

    Returns:
        Conversion: Official state dict, with second names and the class weights of the loss.

    Raises:
        ValueError: If the official model has no counterpart of a name.
    """
    parts, rest = split(ours, ('backbone.', head_prefix))
    others = rename(rest, lambda name: None, f"a Mask DINO: expected names with 'backbone.' or '{head_prefix}'")
    backbone = _restore_backbone(parts['backbone.'], frozen_norms)
    head = restore_head(parts[head_prefix], coarsest_first)
    return join(
        backbone.renamed('backbone.', 'backbone.'),
        head.renamed(head_prefix, 'sem_seg_head.'),
        _class_weights(head.tensors),
        others,
    )


def split(tensors: Mapping[str, Tensor], prefixes: tuple[str, ...]) -> tuple[dict[str, dict], dict[str, Tensor]]:
    """Tensors below each prefix, without it, and the rest."""
    parts, rest = {prefix: {} for prefix in prefixes}, {}
    for name, tensor in tensors.items():
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        if prefix is None:
            rest[name] = tensor
        else:
            parts[prefix][name.removeprefix(prefix)] = tensor
    return parts, rest


def _restore_backbone(ours: Mapping[str, Tensor], frozen_norms: bool) -> Conversion:
    if any(name.startswith('patch_embed.') for name in ours):
        return restore_swin(ours)
    return restore_resnet(ours, {UNCOUNTED: 'frozen norms count no batches'} if frozen_norms else {})


def _class_weights(head: Mapping[str, Tensor]) -> Conversion:
    labels = head.get('predictor.label_enc.weight')
    if labels is None:
        raise ValueError(
            'an official Mask DINO always has a label embedding, which this model (denoising=None) does not have'
        )
    weights = torch.ones(len(labels) + 1)
    weights[-1] = NO_OBJECT_WEIGHT
    name = 'criterion.empty_weight'
    return Conversion({name: weights}, {}, {}, {name: 'class weights of the loss'})
