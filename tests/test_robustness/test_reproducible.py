"""The same seed gives the same run, bit for bit, on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow
SHORT = {'train_cfg.max_iters': 2}


def test_the_seed_decides(train, read_losses, tmp_path: Path) -> None:
    """Not the number of workers; and everything has a deterministic form that torch's switch finds."""
    runs = {
        'first': {'randomness': dict(seed=3, deterministic=True)},
        'second': {'randomness': dict(seed=3), 'train_dataloader.num_workers': 2},
        'other': {'randomness': dict(seed=4)},
    }
    for name, changes in runs.items():
        assert train(name, SHORT | changes) == 0
    losses = {name: read_losses(name) for name in runs}
    assert losses['first'] == losses['second'] != losses['other']
    first, second = (torch.load(tmp_path / name / 'iter_2.pth', weights_only=False) for name in ('first', 'second'))
    assert all(torch.equal(second['state_dict'][name], tensor) for name, tensor in first['state_dict'].items())
