"""Averaged weights: those that are trained come back from a checkpoint, and those that are evaluated for a picture."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook
from torch import nn

from mmmaskdino.engine import ResumableCheckpointHook
from mmmaskdino.engine.averaging import averaged_weights, trained_weights


@pytest.fixture
def run() -> SimpleNamespace:
    """A training whose weight goes 0, 1, 2, 3, with the average that mmengine makes of it by halves."""
    model = nn.Linear(1, 1, bias=False)
    hook = EMAHook(momentum=0.5)
    lines: list[str] = []
    runner = SimpleNamespace(
        model=model, hooks=[hook], iter=0, lines=lines, logger=SimpleNamespace(warning=lines.append)
    )
    hook.before_run(runner)
    for value in range(4):
        nn.init.constant_(model.weight, value)
        hook.after_train_iter(runner, value)
    return runner


def test_weights_are_exchanged_and_put_back(run: SimpleNamespace) -> None:
    """0, then halfway to 1, 2 and 3: 0.5, 1.25, 2.125."""
    with averaged_weights(run):
        assert run.model.weight.item() == 2.125
    assert run.model.weight.item() == 3.0
    with pytest.raises(KeyError), averaged_weights(run):
        raise KeyError
    assert run.model.weight.item() == 3.0


def test_a_run_without_average_stays(run: SimpleNamespace) -> None:
    run.hooks = []
    with averaged_weights(run):
        assert run.model.weight.item() == 3.0


@pytest.fixture
def checkpoint(run: SimpleNamespace) -> dict:
    content = dict(state_dict=run.model.state_dict(), optimizer=dict(param_groups=[]), meta={})
    run.hooks[0].before_save_checkpoint(run, content)
    return content


def test_trained_weights_of_a_checkpoint(checkpoint: dict) -> None:
    assert checkpoint['state_dict']['weight'].item() == 2.125
    assert trained_weights(checkpoint)['weight'].item() == 3.0
    del checkpoint['ema_state_dict']
    assert trained_weights(checkpoint)['weight'].item() == 2.125


@pytest.mark.parametrize(
    ('has_hook', 'resumed', 'weight'), [(False, True, 3.0), (True, True, 2.125), (False, False, 2.125)]
)
def test_a_run_that_averages_no_more_goes_on_from_the_trained_weights(
    run: SimpleNamespace, checkpoint: dict, has_hook: bool, resumed: bool, weight: float
) -> None:
    """With EMAHook, that exchanges them itself; what starts from the weights takes those that were evaluated."""
    run.__dict__.update(_resume=resumed, optim_wrapper=None, param_schedulers=[])
    run.hooks = run.hooks if has_hook else []
    ResumableCheckpointHook(by_epoch=False).after_load_checkpoint(run, checkpoint)
    assert checkpoint['state_dict']['weight'].item() == weight
    assert ('the average ends here' in ' '.join(run.lines)) == (weight == 3.0)
    assert torch.is_tensor(checkpoint['ema_state_dict']['module.weight'])
