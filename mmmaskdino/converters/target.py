"""The model of a config, as far as a conversion needs to know it; built without memory for its weights."""

from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from torch import nn
from torch.overrides import TorchFunctionMode

from .classes import head_prefix


class Target(NamedTuple):
    """The model of a config."""

    shapes: dict[str, torch.Size]
    """Shapes of its state by name."""
    head_prefix: str
    """Where it has its :class:`MaskDINOHead`."""
    head: Any
    """Config of the head."""
    frozen_norms: bool
    """Whether the batch norms of its backbone are frozen."""
    dataset_meta: dict[str, Any]
    """Class names of its dataset, in mmengine's form."""


class WithoutMemory(TorchFunctionMode):
    """Tensors that become parameters get no memory; what constructors compute with (``linspace``) stays real."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn):
            kwargs['device'] = 'meta'
        return func(*args, **kwargs)


def build_without_memory(cfg: Config) -> nn.Module:
    """The model of a config with its names and shapes; its parameters have no values."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope), WithoutMemory():
        return MODELS.build(cfg.model)


def read_target(cfg: Config) -> Target:
    """Describe the model of a config.

    Args:
        cfg: A config of this package.

    Returns:
        Its description.

    Raises:
        ValueError: If the model is no Mask DINO.
    """
    state = build_without_memory(cfg).state_dict()
    prefix = head_prefix(state)
    if prefix is None:
        raise ValueError(f'{cfg.filename} is no config of a Mask DINO: its model {cfg.model.type} has no such head')
    shapes = {name: tensor.shape for name, tensor in state.items()}
    frozen = not cfg.model.backbone.get('norm_cfg', {}).get('requires_grad', True)
    return Target(shapes, prefix, cfg.model[prefix.partition('.')[0]], frozen, read_dataset_meta(cfg))


def read_dataset_meta(cfg: Config) -> dict[str, Any]:
    """Class names and palette of a config's test data, as plain data; empty where there are none."""
    dataset = cfg.get('test_dataloader', {}).get('dataset', {})
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    metainfo = dict(dataset.get('metainfo') or {})
    if 'classes' not in metainfo and 'type' in dataset:
        with DATASETS.switch_scope_and_registry(cfg.default_scope) as registry:
            metainfo = dict(registry.get(dataset['type']).METAINFO)
    keys = ('classes', 'thing_classes', 'stuff_classes', 'palette')
    return {key: [_plain(value) for value in metainfo[key]] for key in keys if key in metainfo}


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float)) else list(value)
