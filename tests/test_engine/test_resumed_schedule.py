"""What a resumed run does about a config that has changed, with mmengine's own optimisers and schedulers."""

from __future__ import annotations

import copy
import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler import LinearLR, MultiStepLR, PolyLR, ReduceOnPlateauLR

from mmmaskdino.engine.resumed_schedule import follow_config

DONE = 5


def make(lr: float = 1.0, decay: float = 0.1, milestones: tuple[int, ...] = (4, 8), kinds=None) -> SimpleNamespace:
    """A runner as far as its config says, with two groups of parameters and a warm-up."""
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [dict(params=[weights[0]]), dict(params=[weights[1]], lr=lr / 10)]
    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=decay)
    wrapper = OptimWrapper(optimizer)
    schedulers = (
        kinds(wrapper)
        if kinds
        else [
            LinearLR(wrapper, start_factor=0.1, begin=0, end=3, by_epoch=False),
            MultiStepLR(wrapper, milestones=list(milestones), gamma=0.1, by_epoch=False),
        ]
    )
    return SimpleNamespace(optim_wrapper=wrapper, param_schedulers=schedulers, weights=weights)


def train(runner: SimpleNamespace, iterations: int) -> list[float]:
    rates = []
    for _ in range(iterations):
        rates.append([group['lr'] for group in runner.optim_wrapper.param_groups])
        for weight in runner.weights:
            weight.grad = torch.ones(1)
        runner.optim_wrapper.step()
        for scheduler in runner.param_schedulers:
            scheduler.step()
    return rates


def save(runner: SimpleNamespace) -> dict:
    return copy.deepcopy(
        {
            'meta': {'iter': DONE, 'epoch': 0},
            'optimizer': runner.optim_wrapper.state_dict(),
            'param_schedulers': [scheduler.state_dict() for scheduler in runner.param_schedulers],
        }
    )


def resume(runner: SimpleNamespace, checkpoint: dict) -> None:
    runner.optim_wrapper.load_state_dict(checkpoint['optimizer'])
    for scheduler, state in zip(runner.param_schedulers, checkpoint['param_schedulers'], strict=True):
        scheduler.load_state_dict(state)


def test_the_same_config_changes_nothing() -> None:
    old = make()
    train(old, DONE)
    checkpoint = save(old)
    before, new = copy.deepcopy(checkpoint), make()
    assert follow_config(new, checkpoint) is None
    assert str(checkpoint) == str(before)


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (dict(lr=0.01), r'lr 0.01 \(the checkpoint has 1\); lr 0.001 \(the checkpoint has 0.1\)\. The schedule'),
        (dict(milestones=(7, 14)), r'param_scheduler\[1\]\.milestones \[7, 14\] \(the checkpoint has \[4, 8\]\)\.'),
        (dict(decay=0.5), r'weight_decay 0.5 \(the checkpoint has 0.1\)\. The'),
    ],
)
def test_a_changed_config_holds_as_if_from_the_start(change: dict, said: str) -> None:
    old, whole, new = make(), make(**change), make(**change)
    train(old, DONE)
    checkpoint = save(old)
    message = follow_config(new, checkpoint)
    assert message.startswith('the config differs from the checkpoint') and '\n' not in message
    assert re.search(said, message), message
    resume(new, checkpoint)
    assert new.optim_wrapper.optimizer.state  # the moments are the checkpoint's
    expected = train(whole, DONE + 8)[DONE:]
    assert train(new, 8) == [pytest.approx(rates) for rates in expected]
    assert new.optim_wrapper.param_groups[0]['weight_decay'] == change.get('decay', 0.1)


def test_another_kind_or_number_of_schedulers() -> None:
    old = make()
    train(old, DONE)
    poly = make(kinds=lambda wrapper: [PolyLR(wrapper, end=20, by_epoch=False)])
    assert 'param_scheduler: PolyLR (the checkpoint has 2 of them)' in follow_config(poly, save(old))
    none = make(kinds=lambda wrapper: [])
    checkpoint = save(old)
    assert 'param_scheduler: none' in follow_config(none, checkpoint)
    resume(none, checkpoint)
    assert train(none, 1)[0][:2] == [1.0, 0.1]


def test_a_schedule_by_metrics_is_kept_and_this_is_said() -> None:
    def kinds(wrapper: OptimWrapper) -> list:
        return [ReduceOnPlateauLR(wrapper, monitor='loss')]

    checkpoint = save(make(kinds=kinds))
    before = str(checkpoint)
    message = follow_config(make(lr=0.5, kinds=kinds), checkpoint)
    assert 'kept as in the checkpoint; ignored: lr 0.5 (the checkpoint has 1)' in message
    assert str(checkpoint) == before
