"""NaN and inf at every stage of training: the weights stay finite, the images are named, training goes on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmmaskdino.engine import NonFiniteError

pytestmark = pytest.mark.slow
FAULTY_ITERATION = 1


class Spoil(Hook):
    """Makes a value of one iteration (or of all from there on) not finite; keeps the weights before and after."""

    def __init__(self, spoil: Callable[[nn.Module, float], object], value: float, for_ever: bool = False) -> None:
        self.spoil, self.value, self.for_ever = spoil, value, for_ever
        self.weights = []

    def before_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        self.weights.append({name: tensor.clone() for name, tensor in runner.model.state_dict().items()})
        if runner.iter == FAULTY_ITERATION:
            self.handle = self.spoil(runner.model, self.value)

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        if runner.iter == FAULTY_ITERATION and not self.for_ever:
            self.handle.remove()


def spoil_tensor(tensor: torch.Tensor, value: float) -> torch.Tensor:
    """The tensor, and so its gradient, not finite at the first index: of the first image, weight or stage."""
    factor = torch.ones_like(tensor)
    factor[0] = value
    return tensor * factor


def in_image(model: nn.Module, value: float) -> object:
    def hook(module: nn.Module, inputs: tuple) -> tuple:
        return (spoil_tensor(inputs[0], value), *inputs[1:])

    return model.backbone.register_forward_pre_hook(hook)


def in_features(model: nn.Module, value: float) -> object:
    return model.backbone.register_forward_hook(lambda *args: (*args[2][:-1], spoil_tensor(args[2][-1], value)))


def in_heads(name: str) -> Callable:
    def spoil(model: nn.Module, value: float) -> object:
        module = model.panoptic_head.get_submodule(name)
        return module.register_forward_hook(lambda *args: spoil_tensor(args[2], value))

    return spoil


def in_gradient(model: nn.Module, value: float) -> object:
    weight = next(parameter for parameter in model.parameters() if parameter.requires_grad)
    return weight.register_hook(lambda gradient: spoil_tensor(gradient, value))


def in_loss(model: nn.Module, value: float) -> object:
    return model.panoptic_head.criterion.loss_bbox.register_forward_hook(lambda *args: args[2] * value)


STAGES = {
    'image': in_image,
    'features': in_features,
    'classes': in_heads('heads.classify'),
    'boxes': in_heads('heads.locate'),
    'masks': in_heads('heads.embed_mask'),
    'loss': in_loss,
    'gradient': in_gradient,
}


@pytest.fixture
def train(make_config):
    """Trains with the hook and something that spoils; returns the runner."""

    def _train(spoil: Spoil, changes: dict | None = None, max_iters: int = 3, **options) -> Runner:
        quick = {'train_cfg.max_iters': max_iters, 'default_hooks.checkpoint.interval': 100}
        cfg = make_config('work', quick | (changes or {}))
        cfg.custom_hooks = [dict(type='NonFiniteHook', **options)]
        runner = Runner.from_cfg(cfg)
        runner.register_hook(spoil, 'VERY_HIGH')
        runner.errors = []
        runner.logger.error = lambda message: runner.errors.append(message)
        runner.train()
        return runner

    return _train


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    counters = 'num_batches_tracked'
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items() if not name.endswith(counters))


@pytest.mark.parametrize(('stage', 'value'), [*zip(STAGES, itertools.repeat(math.nan)), ('image', math.inf)])
def test_the_step_is_left_out(train, stage: str, value: float) -> None:
    spoil = Spoil(STAGES[stage], value)
    runner = train(spoil)
    before, after = spoil.weights[FAULTY_ITERATION : FAULTY_ITERATION + 2]
    assert same(before, after)
    assert not same(after, runner.model.state_dict())  # training goes on
    assert all(tensor.isfinite().all() for tensor in runner.model.state_dict().values())
    states = runner.optim_wrapper.optimizer.state_dict()['state'].values()
    assert all(torch.as_tensor(value).isfinite().all() for state in states for value in state.values())
    (message,) = runner.errors
    assert f'Iteration {FAULTY_ITERATION}' in message and message.count('.jpg') == 2
    assert ('losses are finite' if stage == 'gradient' else 'loss_') in message


def test_the_run_is_stopped(train) -> None:
    spoil = Spoil(in_loss, math.nan)
    with pytest.raises(NonFiniteError, match=r'Iteration 1: losses not finite: .*loss_bbox.* Images of .*\.jpg'):
        train(spoil, action='stop')
    assert len(spoil.weights) == 2


@pytest.mark.parametrize('clip_grad', [dict(max_norm=0.1), None], ids=['clipped', 'not clipped'])
def test_few_in_a_row(train, clip_grad: dict | None) -> None:
    spoil = Spoil(in_gradient, math.nan, for_ever=True)
    with pytest.raises(NonFiniteError, match='3 iterations in a row, the last one 3, .*max_in_a_row=2'):
        train(spoil, {'optim_wrapper.clip_grad': clip_grad}, max_iters=9, max_in_a_row=2)
    assert same(spoil.weights[FAULTY_ITERATION], spoil.weights[-1])


def test_half_precision_recovers(train, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scale at which every gradient overflows falls until training goes on; that is no fault."""
    if not hasattr(torch.amp, 'GradScaler'):
        pytest.skip('torch has a loss scale for the CPU from 2.3 on')
    module = 'mmengine.optim.optimizer.amp_optimizer_wrapper'
    monkeypatch.setattr(f'{module}.is_cuda_available', lambda: True)
    monkeypatch.setattr(f'{module}.GradScaler', partial(torch.amp.GradScaler, 'cpu'))
    spoil = Spoil(lambda *args: None, 0.0, for_ever=True)
    scale = dict(init_scale=2.0**127, backoff_factor=2.0**-32)
    wrapper = dict(type='AmpOptimWrapper', loss_scale=scale, dtype='bfloat16')
    runner = train(spoil, {'optim_wrapper': wrapper}, max_iters=5)
    changes = [not same(*pair) for pair in itertools.pairwise(spoil.weights)]
    assert changes[0] is False and changes[-1] is True
    assert runner.errors == []
    assert runner.optim_wrapper.loss_scaler.get_scale() < 2.0**127
