import pytest
import torch
from mmdet.registry import OPTIMIZERS

import mmmaskdino  # noqa: F401


def test_steps_are_those_of_adamw():
    weights = [torch.randn(4, 3), torch.randn(5)]
    groups = [dict(params=[weights[0]], lr=1e-2), dict(params=[weights[1]], weight_decay=0.0)]
    ours = [w.clone().requires_grad_() for w in weights]
    theirs = [w.clone().requires_grad_() for w in weights]
    settings = dict(lr=1e-3, weight_decay=0.05, betas=(0.9, 0.98))
    optimizers = [
        OPTIMIZERS.build(
            dict(type='FusedAdamW', params=[dict(g, params=[w]) for g, w in zip(groups, ours, strict=True)], **settings)
        ),
        torch.optim.AdamW([dict(g, params=[w]) for g, w in zip(groups, theirs, strict=True)], **settings),
    ]
    for _ in range(5):
        for optimizer, parameters in zip(optimizers, (ours, theirs), strict=True):
            optimizer.zero_grad()
            sum((p**2).sum() for p in parameters).backward()
            optimizer.step()
    for a, b, start in zip(ours, theirs, weights, strict=True):
        torch.testing.assert_close(a, b)
        assert not torch.equal(a, start)


def test_unknown_argument():
    with pytest.raises(TypeError):
        OPTIMIZERS.build(dict(type='FusedAdamW', params=[torch.zeros(1, requires_grad=True)], learning_rate=1))
