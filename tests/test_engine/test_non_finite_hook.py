"""What the hook asks the device; what it does in whole trainings is in tests/test_robustness/test_non_finite.py."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from torch import nn

from mmmaskdino.apis.selftest import OperationCounter
from mmmaskdino.engine import NonFiniteError, NonFiniteHook


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
