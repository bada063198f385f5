"""SimpleFeaturePyramid: four strides from the one map of a plain vision transformer."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.layers import LayerNorm2d
from torch import Tensor, nn


# In mmengine's registry, where the configs of mmdet and of mmseg both find it without a scope.
@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Maps at strides 4, 8, 16 and 32 from one of stride 16 (Li et al., *Exploring Plain Vision Transformer Backbones
    for Object Detection*, ECCV 2022, section 3).

    Finer maps come from transposed convolutions, the coarser one from pooling; then each has a 1x1 and a 3x3
    convolution.

    Args:
        in_channels (int): Channels of the map; a multiple of 4.
        out_channels (int): Channels of the four maps.

    Raises:
        ValueError: If ``in_channels`` is no multiple of 4.
    """

    def __init__(self, in_channels: int, out_channels: int = 256) -> None:
        super().__init__()
        if in_channels % 4:
            raise ValueError(f'neck.in_channels must be a multiple of 4 (it is halved twice), got {in_channels}')
        half, quarter = in_channels // 2, in_channels // 4
        to_stride_4 = [_double(in_channels, half), LayerNorm2d(half), nn.GELU(), _double(half, quarter)]
        self.levels = nn.ModuleList(
            [
                nn.Sequential(*to_stride_4, *_output(quarter, out_channels)),
                nn.Sequential(_double(in_channels, half), *_output(half, out_channels)),
                nn.Sequential(*_output(in_channels, out_channels)),
                nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), *_output(in_channels, out_channels)),
            ]
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Make the pyramid.

        Args:
            features (Sequence[Tensor]): One map (bs, in_channels, H / 16, W / 16).

        Returns:
            tuple[Tensor, ...]: (bs, out_channels, H / stride, W / stride) at strides 4, 8, 16, 32.

        Raises:
            ValueError: If there is more than one map.
        """
        if len(features) != 1:
            raise ValueError(
                f'SimpleFeaturePyramid takes one map, got {len(features)} of {[tuple(f.shape) for f in features]}; set '
                "the backbone's out_indices (out_strides of a TimmBackbone) to one of stride 16"
            )
        return tuple(level(features[0]) for level in self.levels)


def _double(in_channels: int, out_channels: int) -> nn.Module:
    return nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)


def _output(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        LayerNorm2d(out_channels),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        LayerNorm2d(out_channels),
    ]
