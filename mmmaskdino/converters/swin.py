"""Swin Transformers: the names of its authors (and detectron2's of Mask2Former and Mask DINO) and mmdet's."""

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from .conversion import Conversion, rename
from .names import NameRules

SWIN = NameRules(
    ('patch_embed.proj.', 'patch_embed.projection.'),
    ('patch_embed.norm.', 'patch_embed.norm.'),
    ('layers.{}.blocks.{}.attn.', 'stages.{}.blocks.{}.attn.w_msa.'),
    ('layers.{}.blocks.{}.mlp.fc1.', 'stages.{}.blocks.{}.ffn.layers.0.0.'),
    ('layers.{}.blocks.{}.mlp.fc2.', 'stages.{}.blocks.{}.ffn.layers.1.'),
    ('layers.{}.blocks.{}.norm1.', 'stages.{}.blocks.{}.norm1.'),
    ('layers.{}.blocks.{}.norm2.', 'stages.{}.blocks.{}.norm2.'),
    ('layers.{}.downsample.', 'stages.{}.downsample.'),
    ('norm{}.', 'norm{}.'),
)
DROPS = {
    r'head\.': "ImageNet's classifier",
    r'norm\.': 'the norm before the classifier',
    r'layers\.\d+\.blocks\.\d+\.attn_mask$': 'depends on the image size, made again for each image',
}
# The four pixels that one patch merging joins, in the order of the authors: column by column. mmdet's is row by row.
PIXELS = [0, 2, 1, 3]


def convert_swin(source: Mapping[str, Tensor]) -> Conversion:
    """Convert a Swin Transformer.

    Args:
        source (Mapping[str, Tensor]): Names of its authors.

    Returns:
        Conversion: State dict of mmdet's ``SwinTransformer``. A classifier has no norms of the four outputs.

    Raises:
        ValueError: If a name is foreign.
    """
    renamed = rename(source, SWIN.forward, 'a Swin Transformer', DROPS)
    tensors = _map_merging(renamed.tensors, to_unfold_order)
    return renamed._replace(tensors=tensors, absent={r'norm\d\.': 'a classifier has no norms of the outputs'})


def restore_swin(ours: Mapping[str, Tensor]) -> Conversion:
    """The way back: mmdet's ``SwinTransformer`` to the names of its authors."""
    return rename(_map_merging(ours, from_unfold_order), SWIN.backward, "mmdet's SwinTransformer")


def to_unfold_order(tensor: Tensor) -> Tensor:
    """Order of a patch merging's inputs, the last dimension (4 * channels): from pixel first to mmdet's channel first.

    mmdet gathers the four pixels with ``nn.Unfold``, the authors concatenate four strided views.
    """
    pixels = tensor.unflatten(-1, (4, tensor.shape[-1] // 4))
    return pixels[..., PIXELS, :].transpose(-1, -2).flatten(-2)


def from_unfold_order(tensor: Tensor) -> Tensor:
    """The inverse of :func:`to_unfold_order`."""
    pixels = tensor.unflatten(-1, (tensor.shape[-1] // 4, 4))
    return pixels.transpose(-1, -2)[..., PIXELS, :].flatten(-2)


def _map_merging(tensors: Mapping[str, Tensor], order: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    merging = re.compile(r'stages\.\d+\.downsample\.(reduction|norm)\.(weight|bias)')
    return {name: order(tensor) if merging.fullmatch(name) else tensor for name, tensor in tensors.items()}
