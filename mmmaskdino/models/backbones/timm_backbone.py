"""TimmBackbone: any timm model that gives feature maps."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import timm
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn


# In mmengine's registry, where the configs of mmdet and of mmseg both find it without a scope.
@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A model of timm, of which the maps at the given strides are used.

    Args:
        model_name (str): Name in timm.
        out_strides (Sequence[int]): Strides of the maps, finest first. Where several layers of a model have one stride,
            the last of them is taken, so ``(16,)`` is the last map of a plain vision transformer.
        pretrained (bool): Whether to start from timm's weights. They are fetched when a training initialises the
            weights, not when the model is built.
        norm_eval (bool): Whether batch norms keep their statistics in training, as small batches need it.
        options (dict | None): More arguments of the timm model: ``drop_path_rate``, ``dynamic_img_size``, ...

    Raises:
        ValueError: If timm has no such model, or the model no map of a stride.
        TypeError: If the model does not take one of the options.
    """

    def __init__(
        self,
        model_name: str,
        out_strides: Sequence[int] = (4, 8, 16, 32),
        pretrained: bool = False,
        norm_eval: bool = False,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not timm.is_model(model_name):
            raise ValueError(
                f'backbone.model_name must be a model of timm {timm.__version__}, got {model_name!r}; similar: '
                f'{get_close_matches(model_name, timm.list_models(), cutoff=0.5)}'
            )
        self.model_name, self.out_strides = model_name, tuple(out_strides)
        self.pretrained, self.norm_eval = pretrained, norm_eval
        self.options = dict(options or {})
        self.out_indices = self._find_strides()
        self.model = self._create(pretrained=False)
        self.out_channels = tuple(self.model.feature_info.channels())
        # Some models have their channels last (Swin Transformers among them), and say so.
        self.channels_last = str(getattr(self.model, 'output_fmt', 'NCHW')).endswith('NHWC')

    def _find_strides(self) -> tuple[int, ...]:
        """Index of the last map of each stride."""
        with torch.device('meta'):
            model = timm.create_model(self.model_name, **self.options)
        strides = [info['reduction'] for info in getattr(model, 'feature_info', ())]
        if not set(self.out_strides) <= set(strides):
            raise ValueError(
                f'backbone.out_strides are {self.out_strides}, but the maps of {self.model_name} have the strides '
                f'{strides}. For a vision transformer take out_strides=(16,), with options=dict(patch_size=16) if its '
                'patches have another size, and neck=dict(type="SimpleFeaturePyramid", ...)'
            )
        return tuple(len(strides) - 1 - strides[::-1].index(stride) for stride in self.out_strides)

    def _create(self, pretrained: bool) -> nn.Module:
        return timm.create_model(
            self.model_name, pretrained=pretrained, features_only=True, out_indices=self.out_indices, **self.options
        )

    def init_weights(self) -> None:
        """Fetch timm's weights if they are wanted; timm's random start stays otherwise."""
        if self.pretrained:
            self.model.load_state_dict(self._create(pretrained=True).state_dict())
        self.is_init = True

    def train(self, mode: bool = True) -> 'TimmBackbone':
        """Switch the mode, batch norms as ``norm_eval`` says."""
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps.

        Args:
            images (Tensor): Normalised images (bs, 3, H, W).

        Returns:
            tuple[Tensor, ...]: (bs, channels, H / stride, W / stride) per stride of ``out_strides``.
        """
        maps = self.model(images)
        if self.channels_last:
            maps = [m.permute(0, 3, 1, 2) for m in maps]
        return tuple(maps)
