"""Pixel decoder: a deformable encoder over several levels and one FPN step to the mask features."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmengine.model import BaseModule, caffe2_xavier_init, xavier_init
from torch import Tensor, nn

from mmmaskdino.models.utils.positions import sine_frequencies
from mmmaskdino.ops.deform_attn import LevelTensors
from mmmaskdino.ops.device import from_host
from mmmaskdino.structures import Memory, Shape

from .transformer_layers import EncoderLayer, run_layer


@MODELS.register_module()
class MaskDINOPixelDecoder(BaseModule):
    """Multi-scale deformable encoder and mask features (paper, section 3.2; Deformable DETR).

    Levels are named by their stride. Those coarser than the backbone's coarsest come from 3x3 convolutions of stride 2,
    the first on the backbone's map, the next on the one before.

    Args:
        in_channels (Sequence[int]): Channels of the backbone's maps.
        in_strides (Sequence[int]): Their strides, finest first, each twice the one before.
        encoder_strides (Sequence[int]): Strides of the encoder's levels, finest first.
        dim (int): Channels of tokens and mask features' input.
        mask_dims (int | None): Channels of the mask features; None: a model without masks.
        num_heads (int): Attention heads.
        num_points (int): Sampled points per head and level.
        num_layers (int): Encoder layers.
        ffn_dim (int): Hidden channels of the feed-forward networks.
        with_cp (bool): Activation checkpointing: a training step runs the encoder layers twice and stores their inputs
            only.

    Raises:
        ValueError: If the strides do not fit together.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        in_strides: Sequence[int] = (4, 8, 16, 32),
        encoder_strides: Sequence[int] = (8, 16, 32, 64),
        dim: int = 256,
        mask_dims: int | None = 256,
        num_heads: int = 8,
        num_points: int = 4,
        num_layers: int = 6,
        ffn_dim: int = 2048,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.dim, self.with_cp = dim, with_cp
        self.in_channels, self.in_strides = tuple(in_channels), tuple(in_strides)
        self.encoder_strides = tuple(encoder_strides)
        self._check_strides()
        num_levels = len(self.encoder_strides)
        channels = dict(zip(self.in_strides, self.in_channels, strict=True))
        norm = dict(type='GN', num_groups=32)

        self.input_projections = nn.ModuleList()
        extra_channels = self.in_channels[-1]
        for stride in self.encoder_strides:
            if stride in channels:
                conv = ConvModule(channels[stride], dim, 1, bias=True, norm_cfg=norm, act_cfg=None)
            else:
                conv = ConvModule(extra_channels, dim, 3, 2, 1, bias=True, norm_cfg=norm, act_cfg=None)
                extra_channels = dim
            self.input_projections.append(conv)

        self.level_embedding = nn.Parameter(torch.zeros(num_levels, dim))
        self.layers = nn.ModuleList(
            EncoderLayer(dim, num_heads, num_levels, num_points, ffn_dim) for _ in range(num_layers)
        )
        self.with_masks = mask_dims is not None
        if self.with_masks:
            self.lateral = ConvModule(self.in_channels[0], dim, 1, bias=False, norm_cfg=norm, act_cfg=None)
            self.output = ConvModule(dim, dim, 3, padding=1, bias=False, norm_cfg=norm)
            self.mask_features = nn.Conv2d(dim, mask_dims, 1)

    def _check_strides(self) -> None:
        strides = self.in_strides
        if len(strides) != len(self.in_channels):
            raise ValueError(
                f'in_channels and in_strides must have the same length, got {self.in_channels} and {strides}'
            )
        for name, values in (('in_strides', strides), ('encoder_strides', self.encoder_strides)):
            if not values or any(b != 2 * a for a, b in zip(values, values[1:], strict=False)):
                raise ValueError(f'{name} must go from fine to coarse, each twice the one before, got {values}')
        if self.encoder_strides[0] not in strides or self.encoder_strides[-1] < strides[-1]:
            raise ValueError(
                f'encoder_strides must begin at a stride of the backbone {strides} and reach its coarsest, '
                f'got {self.encoder_strides}'
            )

    def init_weights(self) -> None:
        """Xavier for projections and layers, normal for the level embedding, as in the paper's code base."""
        for projection in self.input_projections:
            xavier_init(projection.conv, distribution='uniform')
        nn.init.normal_(self.level_embedding)
        for parameter in self.layers.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for layer in self.layers:
            layer.self_attention.init_weights()
        if self.with_masks:
            for conv in (self.lateral.conv, self.output.conv, self.mask_features):
                caffe2_xavier_init(conv)

    def forward(
        self, features: Sequence[Tensor], valid_sizes: Sequence[tuple[float, float]] | None = None
    ) -> tuple[Tensor | None, Memory]:
        """Encode the backbone's maps.

        Args:
            features (Sequence[Tensor]): (bs, channels, h, w) per stride of ``in_strides``.
            valid_sizes (Sequence[tuple[float, float]] | None): Height and width of each image as a fraction of the
                canvas; None where nothing is padded.

        Returns:
            tuple[Tensor | None, Memory]: Mask features (bs, mask_dims, h / 4, w / 4), None without masks, and the
            encoded tokens.
        """
        self._check_features(features)
        maps = self._project(features)
        shapes = tuple(tuple(m.shape[-2:]) for m in maps)
        references = cell_centers(shapes, maps[0].device)
        padding = None if valid_sizes is None else outside(references[0], valid_sizes)
        tokens = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], 1)
        memory = Memory(tokens, shapes, padding, LevelTensors.of(shapes, tokens))
        position = self._position(shapes, maps[0])
        for layer in self.layers:
            memory = run_layer(layer, memory, position, references, with_cp=self.with_cp)
        return (self._mask_features(features[0], memory) if self.with_masks else None), memory

    def _check_features(self, features: Sequence[Tensor]) -> None:
        found = tuple(f.shape[1] for f in features)
        if found != self.in_channels:
            raise ValueError(
                f'The head expects {len(self.in_channels)} backbone maps with channels {self.in_channels} at strides '
                f'{self.in_strides}, got channels {found} and sizes {[tuple(f.shape[-2:]) for f in features]}. '
                "Fix the backbone's out_indices or the head's in_channels."
            )
        sizes = [tuple(f.shape[-2:]) for f in features]
        halves = zip(sizes, sizes[1:], strict=False)
        if any(abs(2 * small - large) > 1 for a, b in halves for large, small in zip(a, b, strict=True)):
            raise ValueError(
                f'The head expects backbone maps at strides {self.in_strides}, each half as large as the one before, '
                f'got sizes {sizes}'
            )

    def _project(self, features: Sequence[Tensor]) -> list[Tensor]:
        by_stride = dict(zip(self.in_strides, features, strict=True))
        coarsest = features[-1]
        maps = []
        for stride, projection in zip(self.encoder_strides, self.input_projections, strict=True):
            if stride in by_stride:
                maps.append(projection(by_stride[stride]))
            else:
                coarsest = projection(coarsest)
                maps.append(coarsest)
        return maps

    def _position(self, shapes: Sequence[Shape], like: Tensor) -> Tensor:
        """(1, num_points, dim): sine position on the canvas (y, then x) plus the level's embedding."""
        # As in DETR, a position is the far edge of its cell; from one turn per image down to a ten thousandth of it.
        positions = cell_positions(shapes, like.device, 1.0).flip(-1)
        angles = positions[..., None] * sine_frequencies(self.dim // 2, like.device)
        sine = torch.stack([angles.sin(), angles.cos()], -1).flatten(-3)
        sizes = [h * w for h, w in shapes]
        levels = [embedding.expand(n, -1) for n, embedding in zip(sizes, self.level_embedding, strict=True)]
        return (sine + torch.cat(levels)).to(like.dtype)

    def _mask_features(self, finest: Tensor, memory: Memory) -> Tensor:
        h, w = memory.spatial_shapes[0]
        encoded = memory.tokens[:, : h * w].transpose(1, 2).unflatten(2, (h, w))
        encoded = F.interpolate(encoded, size=finest.shape[-2:], mode='bilinear', align_corners=False)
        return self.mask_features(self.output(self.lateral(finest) + encoded))


def cell_centers(shapes: Sequence[Shape], device: torch.device) -> Tensor:
    """(1, num_points, 2) centres (x, y) of the cells of all levels, in [0, 1] of the canvas."""
    return cell_positions(shapes, device, 0.5)


def cell_positions(shapes: Sequence[Shape], device: torch.device, offset: float) -> Tensor:
    """(1, num_points, 2) points (x, y) in the cells of all levels: 0 is a cell's near edge, 1 its far edge."""
    positions = []
    for h, w in shapes:
        y = (torch.arange(h, dtype=torch.float32, device=device) + offset) / h
        x = (torch.arange(w, dtype=torch.float32, device=device) + offset) / w
        positions.append(torch.stack([x.expand(h, w), y[:, None].expand(h, w)], -1).flatten(0, 1))
    return torch.cat(positions)[None]


def outside(points: Tensor, valid_sizes: Sequence[tuple[float, float]]) -> Tensor:
    """(bs, num_points) bool, True where a point (x, y) lies in an image's padding."""
    sizes = from_host([(w, h) for h, w in valid_sizes], points)
    return (points[None] > sizes[:, None]).any(-1)
