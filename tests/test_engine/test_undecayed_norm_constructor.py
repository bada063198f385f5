import pytest
from mmengine.optim import build_optim_wrapper
from torch import nn

import mmmaskdino  # noqa: F401


@pytest.mark.parametrize('norm', [nn.BatchNorm2d, nn.LayerNorm, lambda c: nn.GroupNorm(2, c)])
def test_norms_of_the_backbone_keep_its_learning_rate_and_lose_the_decay(norm):
    model = nn.ModuleDict(
        dict(backbone=nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(norm(4))), head=nn.Sequential(norm(4)))
    )
    cfg = dict(
        constructor='UndecayedNormConstructor',
        optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
        paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
    )
    optimizer = build_optim_wrapper(model, cfg).optimizer
    names = {id(p): name for name, p in model.named_parameters()}
    got = {
        names[id(p)]: (group['lr'], group['weight_decay']) for group in optimizer.param_groups for p in group['params']
    }
    wanted = {'backbone.0': (1e-5, 0.05), 'backbone.1.0': (1e-5, 0.0), 'head.0': (1e-4, 0.0)}
    assert got == {f'{module}.{kind}': values for module, values in wanted.items() for kind in ('weight', 'bias')}
