"""Optimiser, weight decay, and what of their settings holds in a resumed run."""

import re
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS
from mmengine.runner import Runner
from mmengine.utils import digit_version
from torch import nn

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
# What schedulers count, as opposed to what they are told. The values are those of the optimiser.
_COUNTERS = {'last_step', '_global_step', '_last_value', 'base_values', 'verbose'}
_MAX_SHOWN = 4


@OPTIMIZERS.register_module()  # of mmengine, so that mmdet and mmseg find it
class FusedAdamW(torch.optim.AdamW):
    """AdamW, fused on the GPU and, from torch 2.4 on, on the CPU; elsewhere the plain one.

    A plain step makes about six calls per parameter, on a small model a sixth of the training time on a CPU.

    Args:
        params (Iterable): Parameters or parameter groups.
        kwargs: The arguments of :class:`torch.optim.AdamW`, but ``fused`` and ``foreach``.
    """

    def __init__(self, params: Iterable, **kwargs: Any) -> None:
        params = list(params)
        tensors = (p for group in params for p in (group['params'] if isinstance(group, dict) else [group]))
        on_gpu = all(p.is_cuda for p in tensors)
        super().__init__(params, fused=on_gpu or digit_version(torch.__version__) >= digit_version('2.4'), **kwargs)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class UndecayedNormConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor of parameter groups, in which norms carry no weight decay.

    mmengine's own ``norm_decay_mult`` does not reach a module that one of the ``custom_keys`` names, so ``backbone``
    with its learning rate would put weight decay on the norms of every backbone.
    """

    def add_params(self, params: list[dict], module: nn.Module, *args: Any, **kwargs: Any) -> None:
        """Append the parameter groups of a module and of its children.

        Args:
            params (list[dict]): Parameter groups, one per parameter; appended to.
            module (nn.Module): The module.
            args (Any): The other arguments of mmengine's method.
            kwargs (Any): The same by name.
        """
        first = len(params)
        super().add_params(params, module, *args, **kwargs)
        if isinstance(module, NORMS):
            for group in params[first:]:
                group['weight_decay'] = 0.0


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(UndecayedNormConstructor):
    """Parameter groups whose learning rate falls from the last layer of the backbone to the first.

    The rate of a parameter is that of the schedule and of the ``custom_keys``, times ``layer_decay_rate`` once for the
    backbone's last layer, twice for the one before, and so on down to patches or stem, as in BEiT and ViTDet (Li et
    al., 2022). Which layer a parameter is in, the backbone says (``get_layer_depth``, as in mmpretrain); the Swin
    Transformer of mmdet and mmseg is known here.

    Args:
        optim_wrapper_cfg (dict): As in mmengine.
        paramwise_cfg (dict): As in mmengine, with ``layer_decay_rate``, a number above 0 and up to 1.

    Raises:
        ValueError: ``layer_decay_rate`` is no such number, or it is not known in which layer a parameter is.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        self.rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(self.rate, (int, float)) or not 0 < self.rate <= 1:
            raise ValueError(
                'LayerDecayConstructor expects optim_wrapper.paramwise_cfg.layer_decay_rate above 0 and up to 1, such '
                f'as 0.8, got {self.rate!r}'
            )

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any) -> None:
        """Append the parameter groups of a module and of its children.

        Args:
            params (list[dict]): Parameter groups, one per parameter; appended to.
            module (nn.Module): The module.
            prefix (str): Its name; none for the whole model.
            kwargs (Any): The other arguments of mmengine's method.
        """
        super().add_params(params, module, prefix=prefix, **kwargs)
        if prefix:
            return
        names = {parameter: name for name, parameter in module.backbone.named_parameters()}
        for group in params:
            (parameter,) = group['params']
            if parameter in names:
                depth, num_layers = _layer_depth(module.backbone, names[parameter])
                group['lr'] = group.get('lr', self.base_lr) * self.rate ** (num_layers - 1 - depth)


def _layer_depth(backbone: nn.Module, name: str) -> tuple[int, int]:
    """Layer of a parameter, 0 for patches or stem, and the number of layers with the head, which is the last."""
    if hasattr(backbone, 'get_layer_depth'):
        return backbone.get_layer_depth(name)
    if type(backbone).__name__ != 'SwinTransformer':
        raise ValueError(
            f'LayerDecayConstructor does not know the layers of {type(backbone).__name__}: give it a method '
            'get_layer_depth(name), or take a TimmBackbone or SwinTransformer'
        )
    depths = [len(stage.blocks) for stage in backbone.stages]
    num_layers = sum(depths) + 2
    if name.startswith(('patch_embed.', 'absolute_pos_embed')):
        return 0, num_layers
    if re.match(r'norm\d\.', name):  # of a map that leaves the backbone, as the head wants it
        return num_layers - 1, num_layers
    match = re.match(r'stages\.(\d+)\.(?:blocks\.(\d+)|downsample)\.', name)
    if match is None:
        raise ValueError(f'LayerDecayConstructor does not know in which layer of the Swin Transformer {name} is')
    stage, block = int(match[1]), match[2]
    # What halves the map after a stage goes with its last block, as in mmpretrain.
    return sum(depths[:stage]) + (int(block) + 1 if block else depths[stage]), num_layers


def follow_config(runner: Runner, checkpoint: dict) -> str | None:
    """Change a checkpoint that is resumed from: settings of the optimiser and the schedule become those of the config.

    mmengine takes them all from the checkpoint. Where the config says the same, nothing is changed; else the schedule
    is as if it had been the config's from the first iteration on.

    Args:
        runner: Has an optimiser and schedulers as the config says, no step made.
        checkpoint: Changed in place.

    Returns:
        What differs, for people; None if nothing does.
    """
    saved = checkpoint.get('optimizer')
    optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
    schedulers = runner.param_schedulers or []
    states = checkpoint.get('param_schedulers') or []
    groups = optimizer.param_groups if optimizer is not None else []
    base = getattr(runner.optim_wrapper, 'base_param_settings', None)  # what mmengine logs as base_lr
    is_usual = isinstance(schedulers, list) and isinstance(states, list) and isinstance(saved, dict)
    if not is_usual or len(saved.get('param_groups', ())) != len(groups):
        return None  # several optimisers, or other parameters, of which loading says what is wrong
    pairs = list(zip(saved['param_groups'], groups, strict=True))
    if base is not None and saved.get('base_param_settings') is not None:
        pairs.append((saved['base_param_settings'], base))
    differences = dict.fromkeys([*_differences_of_groups(pairs), *_differences_of_schedules(states, schedulers)])
    if not differences:
        return None
    shown = list(differences)
    more = f' and {len(shown) - _MAX_SHOWN} more' if len(shown) > _MAX_SHOWN else ''
    listed = f'{"; ".join(shown[:_MAX_SHOWN])}{more}'
    if any(hasattr(scheduler, 'monitor') for scheduler in schedulers):
        return f'the schedule follows the metrics of the run, so it is kept as in the checkpoint; ignored: {listed}'
    _catch_up(schedulers, checkpoint['meta'])
    for old, new in pairs:
        old.update({key: value for key, value in new.items() if key != 'params'})
    checkpoint['param_schedulers'] = [scheduler.state_dict() for scheduler in schedulers]
    return (
        f'the config differs from the checkpoint that is resumed from, and holds from here on: {listed}. The schedule '
        'is as if it had been so from the start; to go on as before, set these back'
    )


def _differences_of_groups(pairs: list[tuple[dict, dict]]) -> Iterator[str]:
    for old, new in pairs:
        keys = (old.keys() & new.keys()) - {'params'}
        for key in sorted(keys):
            # The rate of the moment is the schedule's; where there is one, the config's is under `initial_lr`.
            if f'initial_{key}' not in keys and _plain(old[key]) != _plain(new[key]):
                yield f'{key.removeprefix("initial_")} {_shown(new[key])} (the checkpoint has {_shown(old[key])})'


def _differences_of_schedules(states: list[dict], schedulers: list) -> Iterator[str]:
    kinds = ', '.join(type(scheduler).__name__ for scheduler in schedulers) or 'none'
    if len(states) != len(schedulers):
        yield f'param_scheduler: {kinds} (the checkpoint has {len(states)} of them)'
        return
    for number, (old, scheduler) in enumerate(zip(states, schedulers, strict=True)):
        new = scheduler.state_dict()
        place = f'param_scheduler[{number}]'
        if old.keys() - _COUNTERS != new.keys() - _COUNTERS:
            yield f'{place}: {type(scheduler).__name__} (the checkpoint has another kind)'
            continue
        for key in sorted(new.keys() - _COUNTERS):
            if _plain(old[key]) != _plain(new[key]):
                yield f'{place}.{key} {_shown(new[key])} (the checkpoint has {_shown(old[key])})'


def _catch_up(schedulers: list, meta: dict) -> None:
    """Step schedulers as often as the training has that is resumed."""
    left = [meta['epoch' if scheduler.by_epoch else 'iter'] for scheduler in schedulers]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that the optimiser has made no step; its steps are in the checkpoint
        for _ in range(max(left, default=0)):
            for number, scheduler in enumerate(schedulers):
                if left[number] > 0:
                    scheduler.step()
                    left[number] -= 1


def _plain(value: Any) -> Any:
    """In one form, whichever it is stored in."""
    if hasattr(value, 'elements'):  # the Counter of a schedule's milestones
        return sorted(value.elements())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.item() if hasattr(value, 'item') else value


def _shown(value: Any) -> str:
    value = _plain(value)
    return f'{value:g}' if isinstance(value, float) else str(value)
