"""One image's query predictions, and the frames they are seen in."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mmmaskdino.ops.device import from_host

from ..utils.boxes import cxcywh_to_xyxy


class ImageFrames(NamedTuple):
    """The (height, width) of one image on its way through the model, in pixels."""

    canvas: tuple[int, int]  # padded: what the network saw, and what relative boxes refer to
    image: tuple[int, int]  # without the padding
    output: tuple[int, int]  # of the results

    @classmethod
    def from_metainfo(cls, metainfo: Mapping, rescale: bool) -> 'ImageFrames':
        """Read the sizes from a data sample's metainfo.

        Args:
            metainfo (Mapping): Holds ``batch_input_shape``, ``img_shape`` and, for ``rescale``, ``ori_shape``.
            rescale (bool): Whether results are wanted in the original image's frame instead of the resized image's.

        Raises:
            ValueError: When one of them is missing, or the image is larger than its padded canvas.
        """
        keys = ('batch_input_shape', 'img_shape', 'ori_shape' if rescale else 'img_shape')
        missing = [key for key in keys if key not in metainfo]
        name = metainfo.get('img_path', 'an image')
        if missing:
            raise ValueError(
                f'metainfo of {name} lacks {missing}: add them to meta_keys of PackDetInputs (batch_input_shape is '
                'set by the data preprocessor)'
            )
        frames = cls(*(tuple(int(size) for size in metainfo[key][:2]) for key in keys))
        if frames.image[0] > frames.canvas[0] or frames.image[1] > frames.canvas[1]:
            raise ValueError(f'{name}: img_shape {frames.image} is larger than batch_input_shape {frames.canvas}')
        return frames


class ImageQueries(NamedTuple):
    """The last decoder stage's prediction for one image, in float32."""

    cls_logits: Tensor  # (num_queries, cls_out_channels)
    boxes: Tensor  # (num_queries, 4) cxcywh in [0, 1] of the padded canvas
    mask_embeds: Tensor | None  # (num_queries, mask_dims)
    mask_features: Tensor | None  # (mask_dims, h, w)

    def mask_logits(self, index: Tensor | slice) -> Tensor:
        """Masks of some queries on the grid of the mask features: (n, h, w)."""
        return torch.einsum('nd,dhw->nhw', self.mask_embeds[index], self.mask_features)


def boxes_px(boxes: Tensor, frames: ImageFrames) -> Tensor:
    """Boxes (n, 4), cxcywh in [0, 1] of the canvas, as xyxy pixels of the output.

    As in the released models they are not clipped, so they may reach beyond the image.
    """
    height, width = (c / i * o for c, i, o in zip(*frames, strict=True))
    return cxcywh_to_xyxy(boxes) * from_host([width, height, width, height], boxes)
