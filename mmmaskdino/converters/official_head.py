"""The head of the official Mask DINO release (detectron2 names) and this package's, in both directions.

Two things change beside the names. The official encoder and decoder keep their levels in opposite orders; here there is
one order, finest level first, so weights with a level dimension are permuted. And the official release stores the
shared box head and the decoder's normalisation under many names; here they exist once.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from .conversion import Conversion
from .names import NameRules

# Second names of tensors that are stored under another name as well.
ALIASES = (
    (r'^predictor\.(decoder\.)?bbox_embed\.\d+\.', 'predictor._bbox_embed.'),
    (r'^predictor\.decoder\.norm\.', 'predictor.decoder_norm.'),
)
_ENCODER, _DECODER = 'pixel_decoder.transformer.encoder.layers.{}.', 'predictor.decoder.layers.{}.'
HEAD = NameRules(
    ('pixel_decoder.input_proj.{}.0.', 'pixel_decoder.input_projections.{}.conv.'),
    ('pixel_decoder.input_proj.{}.1.', 'pixel_decoder.input_projections.{}.gn.'),
    ('pixel_decoder.transformer.level_embed', 'pixel_decoder.level_embedding'),
    (_ENCODER + 'self_attn.', 'pixel_decoder.layers.{}.self_attention.'),
    (_ENCODER + 'norm1.', 'pixel_decoder.layers.{}.norm1.'),
    (_ENCODER + 'linear1.', 'pixel_decoder.layers.{}.ffn.0.'),
    (_ENCODER + 'linear2.', 'pixel_decoder.layers.{}.ffn.2.'),
    (_ENCODER + 'norm2.', 'pixel_decoder.layers.{}.norm2.'),
    ('pixel_decoder.adapter_1.norm.', 'pixel_decoder.lateral.gn.'),
    ('pixel_decoder.adapter_1.', 'pixel_decoder.lateral.conv.'),
    ('pixel_decoder.layer_1.norm.', 'pixel_decoder.output.gn.'),
    ('pixel_decoder.layer_1.', 'pixel_decoder.output.conv.'),
    ('pixel_decoder.mask_features.', 'pixel_decoder.mask_features.'),
    ('predictor.enc_output.', 'query_init.project.'),
    ('predictor.enc_output_norm.', 'query_init.norm.'),
    ('predictor.query_feat.', 'query_init.content.'),
    ('predictor.query_embed.', 'query_init.box_logits.'),
    ('predictor.label_enc.', 'denoising.label_embedding.'),
    ('predictor.class_embed.', 'heads.classify.'),
    ('predictor._bbox_embed.', 'heads.locate.'),
    ('predictor.mask_embed.', 'heads.embed_mask.'),
    ('predictor.decoder_norm.', 'heads.norm.'),
    ('predictor.decoder.ref_point_head.', 'decoder.embed_position.'),
    # The official cross-attention, although it comes second, is followed by norm1, the self-attention by norm2.
    (_DECODER + 'self_attn.', 'decoder.layers.{}.self_attention.'),
    (_DECODER + 'norm2.', 'decoder.layers.{}.norm1.'),
    (_DECODER + 'cross_attn.', 'decoder.layers.{}.cross_attention.'),
    (_DECODER + 'norm1.', 'decoder.layers.{}.norm2.'),
    (_DECODER + 'linear1.', 'decoder.layers.{}.ffn.0.'),
    (_DECODER + 'linear2.', 'decoder.layers.{}.ffn.2.'),
    (_DECODER + 'norm3.', 'decoder.layers.{}.norm3.'),
)
# Of encoder and decoder in all released models; the official decoder cannot have another number.
NUM_HEADS = 8


def convert_head(official: Mapping[str, Tensor]) -> Conversion:
    """Convert the head (``sem_seg_head`` of the official model).

    Args:
        official (Mapping[str, Tensor]): Official names without the prefix ``sem_seg_head.``.

    Returns:
        Conversion: State dict of :class:`MaskDINOHead`.

    Raises:
        ValueError: If a name is unknown, or two names of one tensor hold different values.
    """
    unique, dropped = _drop_aliases(official)
    num_lateral, coarsest_first = level_order(official)
    num_levels = _num_levels(official, 'pixel_decoder.transformer.level_embed')
    tensors, used = {}, {}
    for main, key in unique.items():
        used[key] = head_name(main, num_lateral, coarsest_first)
        tensors[used[key]] = _order_levels(used[key], official[key], num_levels, coarsest_first)
    return Conversion(tensors, used, dropped)


def restore_head(ours: Mapping[str, Tensor], coarsest_first: bool) -> Conversion:
    """The way back, with all second names.

    Args:
        ours (Mapping[str, Tensor]): State dict of :class:`MaskDINOHead`.
        coarsest_first (bool): Level order of the official encoder (``FEATURE_ORDER``: True for ``high2low``).

    Returns:
        Conversion: Official names without the prefix ``sem_seg_head.``.

    Raises:
        ValueError: If the official model has no counterpart of a name.
    """
    num_levels = _num_levels(ours, 'pixel_decoder.level_embedding')
    num_lateral = sum(_is_lateral(name, tensor, 'input_projections') for name, tensor in ours.items())
    tensors, used = {}, {}
    for name, tensor in ours.items():
        key = HEAD.backward(name)
        if key is None:
            raise ValueError(f'{name} has no counterpart in an official Mask DINO')
        used[name] = _turn_projection(key, num_lateral, coarsest_first)
        tensors[used[name]] = _order_levels(name, tensor, num_levels, coarsest_first)
    aliases = _aliases(tensors)
    added = {alias: f'second name of {main}' for alias, main in aliases.items()}
    return Conversion(tensors | {alias: tensors[main] for alias, main in aliases.items()}, used, {}, added)


def level_order(official: Mapping[str, Tensor]) -> tuple[int, bool]:
    """How the official encoder orders its levels.

    The lateral projections follow the encoder's order, and a backbone's maps get more channels with the stride.

    Args:
        official (Mapping[str, Tensor]): Tensors of the head.

    Returns:
        tuple[int, bool]: Number of levels that come from the backbone, and whether the coarsest comes first.

    Raises:
        ValueError: If there are no projections.
    """
    channels = [official[name].shape[1] for name in sorted(official) if _is_lateral(name, official[name], 'input_proj')]
    if not channels:
        raise ValueError('an official Mask DINO head has tensors pixel_decoder.input_proj.*.0.weight, found none')
    return len(channels), channels[0] > channels[-1]


def head_name(key: str, num_lateral: int, coarsest_first: bool) -> str:
    """This package's name of an official parameter of the head (arguments as :func:`level_order` returns them)."""
    name = HEAD.forward(_turn_projection(key, num_lateral, coarsest_first))
    if name is None:
        raise ValueError(f'{key} is no parameter of an official Mask DINO head')
    return name


def _num_levels(tensors: Mapping[str, Tensor], level_embedding: str) -> int:
    if level_embedding not in tensors:
        raise ValueError(f'a Mask DINO head has the tensor {level_embedding}, found none')
    return len(tensors[level_embedding])


def _is_lateral(name: str, tensor: Tensor, projections: str) -> bool:
    kernel = re.fullmatch(rf'pixel_decoder\.{projections}\.\d+\.(0|conv)\.weight', name)
    return kernel is not None and tensor.shape[-1] == 1


def _turn_projection(key: str, num_lateral: int, coarsest_first: bool) -> str:
    """Official name of a projection with the lateral ones in the opposite order; its own inverse."""
    match = re.match(r'(pixel_decoder\.input_proj\.)(\d+)(.*)', key)
    if match and coarsest_first and int(match[2]) < num_lateral:
        return f'{match[1]}{num_lateral - 1 - int(match[2])}{match[3]}'
    return key


def _order_levels(name: str, tensor: Tensor, num_levels: int, coarsest_first: bool) -> Tensor:
    """Turn the level dimension between finest first and the official order; its own inverse.

    Args:
        name (str): This package's name.
        tensor (Tensor): The tensor.
        num_levels (int): Levels of encoder and decoder.
        coarsest_first (bool): Level order of the official encoder; the decoder has the opposite one.
    """
    if name == 'pixel_decoder.level_embedding':
        return tensor.flip(0) if coarsest_first else tensor
    in_decoder = name.startswith('decoder.')
    if not re.search(r'\.(sampling_offsets|attention_weights)\.', name) or coarsest_first == in_decoder:
        return tensor
    return tensor.unflatten(0, (NUM_HEADS, num_levels, -1)).flip(1).flatten(0, 2)


def _drop_aliases(official: Mapping[str, Tensor]) -> tuple[dict[str, str], dict[str, str]]:
    """Name in the file by main name, and why other names are dropped."""
    unique, dropped = {}, {}
    for key, tensor in official.items():
        main = key
        for pattern, replacement in ALIASES:
            main = re.sub(pattern, replacement, main)
        first = unique.setdefault(main, key)
        if first == key:
            continue
        if not torch.equal(official[first], tensor):
            raise ValueError(f'{key} and {first} are one tensor in Mask DINO, but hold different values')
        dropped[key] = 'second name of a tensor'
    return unique, dropped


def _aliases(official: Mapping[str, Tensor]) -> dict[str, str]:
    """Main name by second name, as the official model has them."""
    layers = {match[1] for name in official if (match := re.match(r'predictor\.decoder\.layers\.(\d+)\.', name))}
    aliases = {}
    for main in official:
        if main.startswith('predictor._bbox_embed.'):
            rest = main.removeprefix('predictor._bbox_embed.')
            for owner in ('predictor.', 'predictor.decoder.'):
                aliases |= {f'{owner}bbox_embed.{layer}.{rest}': main for layer in layers}
        elif main.startswith('predictor.decoder_norm.'):
            aliases[main.replace('decoder_norm', 'decoder.norm')] = main
    return aliases
