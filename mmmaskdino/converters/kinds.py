"""The kinds of checkpoints, how they are recognised, and how each becomes the model of a config."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .conversion import Conversion, verify
from .dino import convert_dino, fit_to_model
from .official import convert_backbone, convert_model, restore_model, split
from .official_head import NUM_HEADS
from .resnet import convert_resnet
from .swin import convert_swin
from .target import Target


class Kind(NamedTuple):
    """A kind of checkpoint."""

    marker: str
    """Pattern of a name that this kind has and no other."""
    description: str
    """For people."""
    convert: Callable[[Mapping[str, Tensor], Target], Conversion]
    """Makes the state dict of the target from that of the source."""
    is_backbone: bool = False
    """Whether it gives the backbone only, as a source for ``init_cfg``."""


class Result(NamedTuple):
    """A conversion that was verified."""

    kind: str
    conversion: Conversion
    random: dict[str, str]
    """Reason by name of what stays as the model initialises it."""


def _maskdino(source: Mapping[str, Tensor], target: Target) -> Conversion:
    return convert_model(source, target.head_prefix)


def _dino(kind: str) -> Callable[[Mapping[str, Tensor], Target], Conversion]:
    def convert(source: Mapping[str, Tensor], target: Target) -> Conversion:
        return fit_to_model(convert_dino(source, kind, target.head_prefix), target.shapes)

    return convert


def _mask2former(source: Mapping[str, Tensor], target: Target) -> Conversion:
    parts, head = split(source, ('backbone.',))
    backbone = convert_backbone(parts['backbone.'])._replace(absent={}).renamed('backbone.', '')
    reason = 'Mask2Former has another head; only its backbone is taken'
    return backbone._replace(dropped=backbone.dropped | dict.fromkeys(head, reason))


def _export(source: Mapping[str, Tensor], target: Target) -> Conversion:
    """To the official names, in the level order that the official code needs for the model's proposals."""
    if target.head.get('num_heads', NUM_HEADS) != NUM_HEADS:
        raise ValueError(
            f'the official decoder always has {NUM_HEADS} attention heads, the config has {target.head.num_heads}'
        )
    return restore_model(source, coarsest_first(target), target.frozen_norms, target.head_prefix)


def coarsest_first(target: Target) -> bool:
    """Level order of the official encoder (``FEATURE_ORDER``: True for ``high2low``), from the sizes of the proposals.

    Raises:
        ValueError: If the official code cannot make these proposals.
    """
    sizes = target.head.query_init.get('proposal_sizes')
    if sizes is None:
        return True  # as in the released models with learned queries
    doubling = [0.05 * 2**i for i in range(len(sizes))]
    for order, expected in ((True, doubling), (False, doubling[::-1])):
        if torch.allclose(torch.tensor(sizes), torch.tensor(expected)):
            return order
    raise ValueError(
        f'the official code makes proposals of {doubling} or the reverse, the config has '
        f'query_init.proposal_sizes={list(sizes)}'
    )


KINDS = {
    'maskdino': Kind(
        r'sem_seg_head\.predictor\._bbox_embed\.', 'Mask DINO of the official code or of detrex', _maskdino
    ),
    'mmdet-dino': Kind(r'bbox_head\.cls_branches\.0\.weight$', "mmdet's DINO", _dino('mmdet-dino')),
    'dino': Kind(r'transformer\.encoder\.layers\.0\.linear1\.weight$', 'DINO of the official code', _dino('dino')),
    'detrex-dino': Kind(r'transformer\.encoder\.layers\.0\.attentions\.0\.', 'DINO of detrex', _dino('detrex-dino')),
    'mask2former': Kind(
        r'sem_seg_head\.predictor\.transformer_cross_attention_layers\.',
        'Mask2Former of the official code (backbone)',
        _mask2former,
        is_backbone=True,
    ),
    'torchvision': Kind(
        r'layer1\.0\.conv1\.weight$', 'ResNet of torchvision', lambda source, _: convert_resnet(source), True
    ),
    'detectron2-resnet': Kind(
        r'stem\.conv1\.weight$', 'ResNet of detectron2', lambda source, _: convert_resnet(source), True
    ),
    'swin': Kind(
        r'patch_embed\.proj\.weight$', 'Swin Transformer of its authors', lambda source, _: convert_swin(source), True
    ),
    'mmmaskdino': Kind(
        r'(panoptic|decode)_head\.heads\.classify\.weight$', 'this package, back to the official names', _export
    ),
}


def detect_kind(names: list[str]) -> str:
    """The kind of a state dict.

    Raises:
        ValueError: If the names are of no known kind.
    """
    for kind, (marker, *_) in KINDS.items():
        if any(re.match(marker, name) for name in names):
            return kind
    known = ''.join(f'\n  {kind}: {description}' for kind, (_, description, *_) in KINDS.items())
    raise ValueError(f'The names are of no known kind of checkpoint (the first: {sorted(names)[:4]}). Known:{known}')


def convert(source: Mapping[str, Tensor], target: Target, kind: str | None = None) -> Result:
    """Convert a state dict to a config's model, or this package's to the official names, and verify it.

    Args:
        source (Mapping[str, Tensor]): State dict.
        target (Target): The config's model.
        kind (str | None): A key of ``KINDS``; None: found out.

    Returns:
        Result: The conversion.

    Raises:
        ValueError: If the source is of no or of another kind, or not everything fits.
    """
    kind = kind or detect_kind(list(source))
    conversion = KINDS[kind].convert(source, target)
    if kind == 'mmmaskdino':
        _verify_export(conversion, source, target)
        return Result(kind, conversion, {})
    shapes = target.shapes
    if KINDS[kind].is_backbone:
        shapes = {n.removeprefix('backbone.'): s for n, s in shapes.items() if n.startswith('backbone.')}
    return Result(kind, conversion, verify(conversion, source, shapes))


def _verify_export(conversion: Conversion, source: Mapping[str, Tensor], target: Target) -> None:
    """The exported weights, converted back, must be the source."""
    back = convert_model(conversion.tensors, target.head_prefix)
    verify(back, conversion.tensors, target.shapes)
    lost = [name for name, tensor in back.tensors.items() if not torch.equal(tensor, source[name])]
    lost += [name for name in source if name not in back.tensors and name not in conversion.dropped]
    if lost:
        raise ValueError(f'These tensors do not survive the way there and back: {lost}')
