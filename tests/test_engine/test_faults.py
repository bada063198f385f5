"""Hooks of which a run has one, and what they ask the device; whole trainings are in tests/test_robustness."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from torch import nn

from mmmaskdino.apis.selftest import OperationCounter
from mmmaskdino.engine import NonFiniteError, NonFiniteHook, StopSignalHook

SAFETY = {'ClassCountCheckHook', 'ClassMatchingHook', 'BoundedHistoryHook', 'NonFiniteHook', 'StopSignalHook'}


def test_the_last_one_built_takes_the_place_of_the_others() -> None:
    default, other, own = NonFiniteHook(), StopSignalHook(), NonFiniteHook(action='stop')
    runner = SimpleNamespace(hooks=[own, default, other])  # by priority, not in the order of building
    runner._hooks = runner.hooks
    for hook in runner.hooks:
        hook.before_run(runner)
        runner.hooks = runner._hooks
    assert runner.hooks == [own, other]


def test_a_subclass_takes_the_place_of_its_base() -> None:
    class OwnHook(NonFiniteHook):
        pass

    default, own, ema = NonFiniteHook(), OwnHook(), EMAHook()
    runner = SimpleNamespace(hooks=[default, own, ema])
    own.before_run(runner)
    assert runner._hooks == [own, ema]


def test_own_hooks_of_a_config_drop_none_of_them(project_root, tmp_path) -> None:
    for folder, base in (('maskdino', 'r50_coco_instance'), ('maskdino', 'swin-l_ade20k_semantic')):
        path = project_root / 'configs' / folder / f'maskdino_{base}.py'
        own = tmp_path / f'{base}.py'
        own.write_text(f"_base_ = '{path}'\ncustom_hooks = [dict(type='CompileHook')]\n")
        cfg = Config.fromfile(own)
        assert {hook.type for hook in cfg.default_hooks.values()} >= SAFETY
        assert [hook.type for hook in cfg.custom_hooks] == ['CompileHook']


@pytest.fixture
def make_runner():
    """The parts of a runner that the hook reads, and one step of its optimiser."""

    def make(clip_grad: dict | None) -> SimpleNamespace:
        model = nn.Linear(2, 1)
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), clip_grad=clip_grad)
        hub = MessageHub('non_finite')
        hub.update_scalar('train/grad_norm', 1.0)
        return SimpleNamespace(
            model=model, optim_wrapper=wrapper, message_hub=hub, iter=7, logger=logging.getLogger('non_finite')
        )

    return make


def losses(num: int, **others: float) -> dict[str, torch.Tensor]:
    return {f'loss_{i}': torch.rand(()) for i in range(num)} | {k: torch.tensor(v) for k, v in others.items()}


def test_an_optimiser_that_calls_no_hooks(make_runner):
    """As all of them once torch.compile of torch 2.1 was used."""

    class Unhooked(torch.optim.SGD):
        @torch.no_grad()
        def step(self):
            for parameter in self.param_groups[0]['params']:
                if parameter.grad is not None:
                    parameter -= parameter.grad

        step.hooked = True  # torch's mark

    runner, hook = make_runner(None), NonFiniteHook()
    weight = runner.model.weight
    runner.optim_wrapper.optimizer = Unhooked(runner.model.parameters(), lr=0.1)
    hook.before_train(runner)
    for factor, is_left_out in ((math.nan, True), (1.0, False)):
        before = weight.clone()
        hook.before_train_iter(runner, 7)
        (factor * runner.model(torch.ones(1, 2)).sum()).backward()
        runner.optim_wrapper.optimizer.step()
        hook.after_train_iter(runner, 7, outputs=losses(1))
        assert torch.equal(weight, before) == is_left_out
    assert hook.num_skipped == 1


@pytest.mark.parametrize(('clip_grad', 'waits'), [(dict(max_norm=1.0), 1), (None, 2)])
def test_one_wait_for_all_losses_and_one_for_the_norm_unless_it_is_clipped(make_runner, clip_grad, waits):
    runner, hook = make_runner(clip_grad), NonFiniteHook()
    hook.before_train(runner)
    runner.model(torch.ones(1, 2)).sum().backward()
    outputs = losses(105)
    counter = OperationCounter()
    with counter:
        hook.before_train_iter(runner, 7)
        runner.optim_wrapper.optimizer.step()
        hook.after_train_iter(runner, 7, outputs=outputs)
    assert sum(counter.waits.values()) == waits
    assert hook.num_skipped == 0


def test_all_that_is_not_finite_is_named(make_runner):
    runner, hook = make_runner(None), NonFiniteHook(action='stop')
    hook.before_train(runner)
    runner.model(torch.ones(1, 2)).sum().backward()
    runner.optim_wrapper.optimizer.step()
    outputs = losses(3, loss_bbox=math.nan, loss_mask=-math.inf) | dict(acc=torch.tensor([math.inf, 0.0]))
    with pytest.raises(NonFiniteError, match='^Iteration 7: losses not finite: loss_bbox, loss_mask, acc. Images'):
        hook.after_train_iter(runner, 7, outputs=outputs)


def test_an_iteration_without_losses(make_runner):
    runner, hook = make_runner(dict(max_norm=1.0)), NonFiniteHook()
    hook.before_train(runner)
    runner.model(torch.ones(1, 2)).sum().backward()
    runner.optim_wrapper.optimizer.step()
    hook.after_train_iter(runner, 7)
    assert hook.num_skipped == 0
