"""What tools/analysis_tools/long_run.py finds in thousands of iterations, in a few."""

import pytest
from measuring.resources import ResourceHook, find_leaks
from mmengine.runner import Runner

pytestmark = pytest.mark.slow


def test_nothing_grows(make_config) -> None:
    changes = {'train_cfg.max_iters': 16, 'default_hooks.checkpoint.interval': 4, 'train_dataloader.num_workers': 1}
    cfg = make_config('long', changes)
    cfg.custom_hooks = [dict(type='BoundedHistoryHook', max_length=5)]
    runner = Runner.from_cfg(cfg)
    resources = ResourceHook(interval=1)
    runner.register_hook(resources)
    runner.train()
    assert find_leaks(resources.looks, warm_up=8, max_growth=0.05) == []
    lengths = {len(history.data[0]) for history in runner.message_hub.log_scalars.values()}
    assert lengths == {5}
    assert resources.looks[-1].children == 1
