"""Weights of the official Mask DINO release (detectron2 names) to this package's names.

Two things change beside the names. The official encoder and decoder keep their levels in opposite orders; here there is
one order, finest level first, so weights with a level dimension are permuted. And the official release stores the
shared box head and the decoder's normalisation under many names; here they exist once.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

# Second names of tensors that are stored under another name as well.
ALIASES = (
    (r'^predictor\.(decoder\.)?bbox_embed\.\d+\.', 'predictor._bbox_embed.'),
    (r'^predictor\.decoder\.norm\.', 'predictor.decoder_norm.'),
)
# What has no counterpart: the class weights of the loss, which the config gives.
DROPPED = (r'^criterion\.empty_weight$',)

HEAD_RULES = (
    (r'^pixel_decoder\.input_proj\.(\d+)\.0\.', r'pixel_decoder.input_projections.\1.conv.'),
    (r'^pixel_decoder\.input_proj\.(\d+)\.1\.', r'pixel_decoder.input_projections.\1.gn.'),
    (r'^pixel_decoder\.transformer\.level_embed$', 'pixel_decoder.level_embedding'),
    (r'^pixel_decoder\.transformer\.encoder\.layers\.', 'pixel_decoder.layers.'),
    (r'^(pixel_decoder\.layers\.\d+)\.self_attn\.', r'\1.self_attention.'),
    (r'^pixel_decoder\.adapter_1\.norm\.', 'pixel_decoder.lateral.gn.'),
    (r'^pixel_decoder\.adapter_1\.', 'pixel_decoder.lateral.conv.'),
    (r'^pixel_decoder\.layer_1\.norm\.', 'pixel_decoder.output.gn.'),
    (r'^pixel_decoder\.layer_1\.', 'pixel_decoder.output.conv.'),
    (r'^predictor\.enc_output\.', 'query_init.project.'),
    (r'^predictor\.enc_output_norm\.', 'query_init.norm.'),
    (r'^predictor\.query_feat\.', 'query_init.content.'),
    (r'^predictor\.query_embed\.', 'query_init.box_logits.'),
    (r'^predictor\.label_enc\.', 'denoising.label_embedding.'),
    (r'^predictor\.class_embed\.', 'heads.classify.'),
    (r'^predictor\._bbox_embed\.', 'heads.locate.'),
    (r'^predictor\.mask_embed\.', 'heads.embed_mask.'),
    (r'^predictor\.decoder_norm\.', 'heads.norm.'),
    (r'^predictor\.decoder\.ref_point_head\.', 'decoder.embed_position.'),
    (r'^predictor\.decoder\.layers\.', 'decoder.layers.'),
    # The official cross-attention, although it comes second, is followed by norm1, the self-attention by norm2.
    (r'^(decoder\.layers\.\d+)\.norm1\.', r'\1.NORM2.'),
    (r'^(decoder\.layers\.\d+)\.norm2\.', r'\1.norm1.'),
    (r'^(decoder\.layers\.\d+)\.NORM2\.', r'\1.norm2.'),
    (r'^(decoder\.layers\.\d+)\.cross_attn\.', r'\1.cross_attention.'),
    (r'^(decoder\.layers\.\d+)\.self_attn\.', r'\1.self_attention.'),
    (r'^((?:pixel_decoder|decoder)\.layers\.\d+)\.linear1\.', r'\1.ffn.0.'),
    (r'^((?:pixel_decoder|decoder)\.layers\.\d+)\.linear2\.', r'\1.ffn.2.'),
)

RESNET_RULES = (
    (r'^stem\.conv1\.norm\.', 'bn1.'),
    (r'^stem\.conv1\.', 'conv1.'),
    (r'^res(\d)\.', lambda match: f'layer{int(match[1]) - 1}.'),
    (r'^(layer\d\.\d+)\.shortcut\.norm\.', r'\1.downsample.1.'),
    (r'^(layer\d\.\d+)\.shortcut\.', r'\1.downsample.0.'),
    (r'^(layer\d\.\d+)\.conv(\d)\.norm\.', r'\1.bn\2.'),
)


def convert_head(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the head (``sem_seg_head`` of the official model).

    Args:
        official (Mapping[str, Tensor]): Official names without the prefix ``sem_seg_head.``.

    Returns:
        dict[str, Tensor]: State dict of :class:`MaskDINOHead`.

    Raises:
        ValueError: If a name is unknown, or two names of one tensor hold different values.
    """
    unique = _drop_aliases(official)
    num_lateral, reverse = level_order(unique)
    converted = {}
    for key, value in unique.items():
        name = head_name(key, num_lateral, reverse)
        converted[name] = _order_levels(key, value, unique, reverse)
    return converted


def convert_resnet(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a detectron2 ResNet to mmdet's (torchvision's) names; keys without the prefix ``backbone.``."""
    return {resnet_name(key): value for key, value in official.items()}


def convert_model(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a whole model with a ResNet backbone to the state dict of :class:`MaskDINO`.

    Args:
        official (Mapping[str, Tensor]): Official state dict (``backbone.``, ``sem_seg_head.``, ``criterion.``).

    Returns:
        dict[str, Tensor]: The state dict.

    Raises:
        ValueError: If a name is unknown.
    """
    parts = {'backbone.': {}, 'sem_seg_head.': {}}
    for key, value in official.items():
        prefix = next((p for p in parts if key.startswith(p)), None)
        if prefix:
            parts[prefix][key.removeprefix(prefix)] = value
        elif not any(re.search(pattern, key) for pattern in DROPPED):
            raise ValueError(f'{key} is no parameter of an official Mask DINO: expected names with {tuple(parts)}')
    converted = {f'backbone.{k}': v for k, v in convert_resnet(parts['backbone.']).items()}
    return converted | {f'panoptic_head.{k}': v for k, v in convert_head(parts['sem_seg_head.']).items()}


def level_order(official: Mapping[str, Tensor]) -> tuple[int, bool]:
    """How the official encoder orders its levels.

    The lateral projections follow the encoder's order, and a backbone's maps get more channels with the stride.

    Args:
        official (Mapping[str, Tensor]): Tensors of the head.

    Returns:
        tuple[int, bool]: Number of levels that come from the backbone, and whether the coarsest comes first.
    """
    weights = [official[k] for k in sorted(official) if re.fullmatch(r'pixel_decoder\.input_proj\.\d+\.0\.weight', k)]
    channels = [w.shape[1] for w in weights if w.shape[-1] == 1]
    return len(channels), channels[0] > channels[-1]


def head_name(key: str, num_lateral: int, reverse: bool) -> str:
    """This package's name of an official parameter of the head (arguments as :func:`level_order` returns them)."""
    name = _rename(key, HEAD_RULES)
    known = name != key or key.startswith('pixel_decoder.mask_features.')
    if not known or not key.startswith(('pixel_decoder.', 'predictor.')):
        raise ValueError(f'{key} is no parameter of an official Mask DINO head')
    match = re.match(r'(pixel_decoder\.input_projections\.)(\d+)(.*)', name)
    if match and reverse and int(match[2]) < num_lateral:
        name = f'{match[1]}{num_lateral - 1 - int(match[2])}{match[3]}'
    return name


def resnet_name(key: str) -> str:
    """mmdet's name of a detectron2 ResNet parameter."""
    name = _rename(key, RESNET_RULES)
    if name == key:
        raise ValueError(f'{key} is no parameter of a detectron2 ResNet')
    return name


def _rename(key: str, rules: Iterable) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def _drop_aliases(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    unique, seen = {}, {}
    for key, value in official.items():
        name = _rename(key, ALIASES)
        if name in seen and not torch.equal(seen[name], value):
            raise ValueError(f'{key} and {name} are one tensor in Mask DINO, but hold different values')
        unique[name] = seen[name] = value
    return unique


def _order_levels(key: str, value: Tensor, official: Mapping[str, Tensor], reverse: bool) -> Tensor:
    """Reorder the level dimension to finest first: the decoder's levels are the reversed encoder's."""
    num_levels = len(official['pixel_decoder.transformer.level_embed'])
    if key == 'pixel_decoder.transformer.level_embed':
        return value.flip(0) if reverse else value
    if not re.search(r'\.(sampling_offsets|attention_weights)\.', key):
        return value
    if reverse == key.startswith('predictor.'):
        return value  # finest first already
    trailing = 2 if 'sampling_offsets' in key else 1
    num_heads, num_points = _heads_and_points(key, official, num_levels)
    shape = (num_heads, num_levels, num_points * trailing)
    return value.unflatten(0, shape).flip(1).flatten(0, 2)


def _heads_and_points(key: str, official: Mapping[str, Tensor], num_levels: int) -> tuple[int, int]:
    # All released models have 8 heads; the number of points follows.
    num_heads = 8
    return num_heads, len(official[re.sub('sampling_offsets|attention_weights', 'attention_weights', key)]) // (
        num_heads * num_levels
    )
