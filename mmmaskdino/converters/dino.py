"""DINO detectors to Mask DINO: from mmdet, from the official release, from detrex.

Mask DINO is DINO with masks, so encoder, decoder, query selection and heads carry over. What differs is dropped or left
at its initialisation, with the reason. :mod:`.dino_names` has the names.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from .conversion import Conversion, join, rename
from .dino_names import SOURCES, DinoNames
from .official import convert_backbone, split

ABSENT = {
    r'pixel_decoder\.(lateral|output|mask_features)\.': 'DINO has no masks',
    r'heads\.embed_mask\.': 'DINO has no masks',
    r'query_init\.(content|box_logits)\.': 'learned queries; those of DINO get their boxes from the encoder',
}
# Category ids of COCO, which the official DINO uses as class indices: 80 of 1 to 90.
COCO_IDS = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


def convert_dino(source: Mapping[str, Tensor], kind: str, head_prefix: str = 'panoptic_head.') -> Conversion:
    """Convert a DINO.

    Args:
        source (Mapping[str, Tensor]): State dict.
        kind (str): Whose names it has, a key of ``SOURCES``.
        head_prefix (str): Where the model has its :class:`MaskDINOHead`.

    Returns:
        Conversion: State dict of :class:`MaskDINO` without masks, and without decoder layers that the source lacks.

    Raises:
        ValueError: If a name is foreign, or the decoder encodes boxes in another way than Mask DINO's.
    """
    names = SOURCES[kind]
    parts, head = split(source, names.backbone)
    backbones = [_convert_backbone(part, kind).renamed(prefix, 'backbone.') for prefix, part in parts.items()]
    return join(*backbones, _convert_head(head, kind).renamed('', head_prefix))


def fit_to_model(conversion: Conversion, shapes: Mapping[str, torch.Size]) -> Conversion:
    """Leave out what a config's model has otherwise: other classes, learned queries, no denoising, fewer layers.

    Args:
        conversion (Conversion): What :func:`convert_dino` returns.
        shapes (Mapping[str, torch.Size]): Shapes of the model's state by name.

    Returns:
        Conversion: The same with these tensors dropped, their counterparts in the model absent.
    """
    reasons = {}
    for name, tensor in conversion.tensors.items():
        wanted = shapes.get(name)
        if re.search(r'\.(heads\.classify|denoising\.label_embedding)\.', name) and wanted not in (None, tensor.shape):
            reasons[name] = f'{len(tensor)} classes, the model of the config has {wanted[0]}'
        elif wanted is None and re.search(r'\.(query_init|denoising)\.|\.decoder\.layers\.\d+\.', name):
            reasons[name] = 'the model of the config has no such part'
    return Conversion(
        {name: tensor for name, tensor in conversion.tensors.items() if name not in reasons},
        {old: new for old, new in conversion.used.items() if new not in reasons},
        conversion.dropped | {old: reasons[new] for old, new in conversion.used.items() if new in reasons},
        conversion.added,
        conversion.absent | {re.escape(name) + '$': reason for name, reason in reasons.items()},
    )


def _convert_backbone(source: Mapping[str, Tensor], kind: str) -> Conversion:
    # mmdet's backbones are the same there and here.
    same = Conversion(dict(source), {name: name for name in source}, {})
    converted = same if kind == 'mmdet-dino' else convert_backbone(source)
    # DINO with four scales does not use the finest map, so a Swin Transformer has no norm for it.
    return converted._replace(absent={r'norm0\.': "DINO does not use the backbone's finest map"})


def _convert_head(source: Mapping[str, Tensor], kind: str) -> Conversion:
    names = SOURCES[kind]
    layers = {int(match[1]) for name in source if (match := re.match(names.decoder_layer, name))}
    if not layers:
        raise ValueError(f'expected the tensors of a DINO ({kind}), found no decoder layer')
    num_layers = max(layers) + 1
    _check_second_names(source)
    rules = names.rules(num_layers, source)
    converted = rename(source, rules.forward, f'a DINO ({kind})', names.drops(num_layers))
    _check_box_encoding(converted)
    tensors = {name: _select_classes(name, tensor, names) for name, tensor in converted.tensors.items()}
    biases = _missing_biases(tensors)
    added = dict.fromkeys(biases, 'zero: this DINO has no bias before the normalisation')
    later = ''.join(f'(?!{layer}\\.)' for layer in range(num_layers))
    absent = ABSENT | {rf'decoder\.layers\.{later}\d+\.': f'this DINO has {num_layers} decoder layers'}
    return converted._replace(tensors=tensors | biases, added=added, absent=absent)


def _check_second_names(source: Mapping[str, Tensor]) -> None:
    for name in source:
        main = name.removeprefix('transformer.decoder.')
        if main != name and main in source and not torch.equal(source[name], source[main]):
            raise ValueError(f'{name} and {main} are one tensor in DINO, but hold different values')


def _check_box_encoding(converted: Conversion) -> None:
    weight = converted.tensors.get('decoder.embed_position.layers.0.weight')
    if weight is None or weight.shape[1] == 2 * weight.shape[0]:
        return
    dim, width = weight.shape
    raise ValueError(
        f'This DINO encodes a box with {width} numbers (the inputs of its ref_point_head), but Mask DINO, the official '
        f'DINO and mmdet 3.3.0 with {2 * dim}. The mmdet of the OneDL packages takes {dim} instead of {dim // 2} sine '
        'features per coordinate, of other frequencies, so no weights of Mask DINO do the same. Convert a DINO that '
        'was trained with mmdet 3.3.0, with the official code, or with detrex.'
    )


def _select_classes(name: str, tensor: Tensor, names: DinoNames) -> Tensor:
    """Rows of the classes, where class indices are the category ids of COCO or Objects365 (1 to 365)."""
    if not names.classes_are_ids or not re.match(r'heads\.classify\.|denoising\.label_embedding\.', name):
        return tensor
    # The label embedding has one more row, which is never used.
    num_rows = len(tensor) - name.startswith('denoising.')
    ids = {91: COCO_IDS, 366: list(range(1, 366))}.get(num_rows)
    return tensor[:num_rows] if ids is None else tensor[ids]


def _missing_biases(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """mmdet leaves the bias of a convolution before a normalisation out."""
    kernels = [name for name in tensors if re.fullmatch(r'pixel_decoder\.input_projections\.\d+\.conv\.weight', name)]
    biases = {name.removesuffix('weight') + 'bias': tensors[name] for name in kernels}
    return {name: kernel.new_zeros(len(kernel)) for name, kernel in biases.items() if name not in tensors}
