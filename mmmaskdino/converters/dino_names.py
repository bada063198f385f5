"""What the three code bases of DINO call their parameters."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .names import NameRules

OTHER_HEAD = 'Mask DINO has one head for all stages: the one of the last decoder layer is taken'
SECOND_NAME = 'second name of a tensor'
CONTENT = "Mask DINO's queries get their content from the encoder"


class DinoNames(NamedTuple):
    """Names of one code base."""

    backbone: tuple[str, ...]
    """Prefixes of the backbone: the first that fits."""
    decoder_layer: str
    """Pattern of a decoder layer's tensors, with the number of the layer."""
    rules: Callable[[int, Iterable[str]], NameRules]
    """Rules to the names of :class:`MaskDINOHead`, from the number of decoder layers and the names in the source."""
    drops: Callable[[int], dict[str, str]]
    """Patterns of tensors without counterpart, and why, from the number of decoder layers."""
    classes_are_ids: bool = False
    """Whether class indices are the category ids of the annotation file."""


def _layers(theirs: str, ours: str, **parts: str) -> list[tuple[str, str]]:
    """Pairs of a layer's parts: here by their names there."""
    return [(f'{theirs}.{{}}.{name}.', f'{ours}.{{}}.{part}.') for part, name in parts.items()]


def _mmcv_rules(prefix: str, self_attention: str, cross_attention: str, encoder: str, ffn: str) -> list:
    """Layers of mmcv's kind: norms and attentions in lists, in the order in which they act."""
    linear = {'ffn.0': f'{ffn}.layers.0.0', 'ffn.2': f'{ffn}.layers.1'}
    norms = {f'norm{i + 1}': f'norms.{i}' for i in range(3)}
    encoder_norms = {name: norms[name] for name in ('norm1', 'norm2')}
    attention = dict(self_attention=self_attention, cross_attention=cross_attention)
    return [
        *_layers(f'{prefix}encoder.layers', 'pixel_decoder.layers', self_attention=encoder, **encoder_norms, **linear),
        *_layers(f'{prefix}decoder.layers', 'decoder.layers', **attention, **norms, **linear),
    ]


def _neck(norm: str, names: Iterable[str]) -> list[tuple[str, str]]:
    """Projections: those of the backbone's maps, then the coarser levels."""
    num_lateral = len({match[1] for name in names if (match := re.match(r'neck\.convs\.(\d+)\.', name))})
    extras = [(f'neck.extra_convs.{i}', f'pixel_decoder.input_projections.{num_lateral + i}') for i in range(4)]
    pairs = [('neck.convs.{}', 'pixel_decoder.input_projections.{}'), *extras]
    parts = [('conv', 'conv'), (norm, 'gn')]
    return [(f'{theirs}.{a}.', f'{ours}.{b}.') for theirs, ours in pairs for a, b in parts]


def _mmdet_rules(num_layers: int, names: Iterable[str]) -> NameRules:
    last = num_layers - 1
    boxes = [(f'bbox_head.reg_branches.{last}.{2 * i}.', f'heads.locate.layers.{i}.') for i in range(3)]
    return NameRules(
        *_neck('gn', names),
        ('level_embed', 'pixel_decoder.level_embedding'),
        *_mmcv_rules('', 'self_attn.attn', 'cross_attn', 'self_attn', 'ffn'),
        ('decoder.ref_point_head.', 'decoder.embed_position.'),
        ('decoder.norm.', 'heads.norm.'),
        ('memory_trans_fc.', 'query_init.project.'),
        ('memory_trans_norm.', 'query_init.norm.'),
        (f'bbox_head.cls_branches.{last}.', 'heads.classify.'),
        *boxes,
        ('dn_query_generator.label_embedding.', 'denoising.label_embedding.'),
    )


def _mmdet_drops(num_layers: int) -> dict[str, str]:
    return {
        rf'bbox_head\.(cls|reg)_branches\.(?!{num_layers - 1}\.)': OTHER_HEAD,
        r'query_embedding\.': CONTENT,
    }


def _common_rules(num_layers: int, level_embedding: str) -> list[tuple[str, str]]:
    """What the official code and detrex share."""
    return [
        (f'transformer.{level_embedding}', 'pixel_decoder.level_embedding'),
        ('transformer.decoder.ref_point_head.', 'decoder.embed_position.'),
        ('transformer.decoder.norm.', 'heads.norm.'),
        ('transformer.enc_output.', 'query_init.project.'),
        ('transformer.enc_output_norm.', 'query_init.norm.'),
        (f'class_embed.{num_layers - 1}.', 'heads.classify.'),
        (f'bbox_embed.{num_layers - 1}.', 'heads.locate.'),
        ('label_enc.', 'denoising.label_embedding.'),
    ]


def _common_drops(num_layers: int) -> dict[str, str]:
    return {
        rf'(class|bbox)_embed\.(?!{num_layers - 1}\.)': OTHER_HEAD,
        r'transformer\.decoder\.(class|bbox)_embed\.': SECOND_NAME,
        r'transformer\.enc_out_(class|bbox)_embed\.': OTHER_HEAD,
        r'transformer\.tgt_embed\.': CONTENT,
    }


def _official_rules(num_layers: int, names: Iterable[str]) -> NameRules:
    linear = {'ffn.0': 'linear1', 'ffn.2': 'linear2'}
    encoder = dict(self_attention='self_attn', norm1='norm1', norm2='norm2', **linear)
    # The cross-attention, although it comes second, is followed by norm1, the self-attention by norm2.
    attention = dict(self_attention='self_attn', norm1='norm2', cross_attention='cross_attn', norm2='norm1')
    return NameRules(
        ('input_proj.{}.0.', 'pixel_decoder.input_projections.{}.conv.'),
        ('input_proj.{}.1.', 'pixel_decoder.input_projections.{}.gn.'),
        *_layers('transformer.encoder.layers', 'pixel_decoder.layers', **encoder),
        *_layers('transformer.decoder.layers', 'decoder.layers', **attention, norm3='norm3', **linear),
        *_common_rules(num_layers, 'level_embed'),
    )


def _detrex_rules(num_layers: int, names: Iterable[str]) -> NameRules:
    return NameRules(
        *_neck('norm', names),
        *_mmcv_rules('transformer.', 'attentions.0.attn', 'attentions.1', 'attentions.0', 'ffns.0'),
        *_common_rules(num_layers, 'level_embeds'),
    )


SOURCES = {
    'mmdet-dino': DinoNames(('backbone.',), r'decoder\.layers\.(\d+)\.', _mmdet_rules, _mmdet_drops),
    'dino': DinoNames(
        ('backbone.0.body.', 'backbone.0.'),
        r'transformer\.decoder\.layers\.(\d+)\.',
        _official_rules,
        _common_drops,
        classes_are_ids=True,
    ),
    'detrex-dino': DinoNames(('backbone.',), r'transformer\.decoder\.layers\.(\d+)\.', _detrex_rules, _common_drops),
}
