"""Optimiser, weight decay, and a resumed run whose config has changed, with mmengine's own schedulers."""

from __future__ import annotations

import copy
import re
from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import MODELS, OPTIMIZERS
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.optim.scheduler import LinearLR, MultiStepLR, PolyLR, ReduceOnPlateauLR
from torch import nn

import mmmaskdino  # noqa: F401
from mmmaskdino.engine.optimisers import follow_config


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


def rates(model: nn.Module, **options) -> dict[str, float]:
    """Learning rate of each parameter, for a rate of 1 and half of it in each earlier layer."""
    cfg = dict(
        constructor='LayerDecayConstructor',
        optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.05),
        paramwise_cfg=dict(dict(layer_decay_rate=0.5), **options),
    )
    names = {id(p): name for name, p in model.named_parameters()}
    groups = build_optim_wrapper(model, cfg).optimizer.param_groups
    return {names[id(p)]: group['lr'] for group in groups for p in group['params']}


def with_head(backbone: nn.Module) -> nn.Module:
    return nn.ModuleDict(dict(backbone=backbone, head=nn.Linear(2, 2)))


@pytest.fixture
def swin(mmdet_scope) -> nn.Module:
    """Two blocks in the first stage, one in each of the others: five of them."""
    cfg = dict(type='SwinTransformer', embed_dims=8, depths=(2, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=2)
    return with_head(MODELS.build(cfg))


def test_rates_of_a_swin_transformer(swin: nn.Module) -> None:
    """Six factors from the head to the patches; what halves the map goes with the block before it."""
    got = rates(swin)
    starts = {
        'patch_embed.': 2**-6,
        'stages.0.blocks.0.': 2**-5,
        'stages.0.blocks.1.': 2**-4,
        'stages.0.downsample.': 2**-4,
        'stages.1.blocks.0.': 2**-3,
        'stages.1.downsample.': 2**-3,
        'stages.2.': 2**-2,
        'stages.3.': 2**-1,
        'norm': 1,
    }
    wanted = {
        name: next((rate for start, rate in starts.items() if name.startswith(f'backbone.{start}')), 1) for name in got
    }
    assert got == wanted and set(got.values()) == set(starts.values())
    assert set(got) == {name for name, _ in swin.named_parameters()}


def test_rates_of_a_plain_vision_transformer_are_times_those_of_the_keys() -> None:
    options = dict(depth=2, embed_dim=32, num_heads=2, dynamic_img_size=True)
    backbone = MODELS.build(
        dict(type='TimmBackbone', model_name='vit_tiny_patch16_224', out_strides=(16,), options=options)
    )
    got = rates(with_head(backbone), custom_keys={'backbone': dict(lr_mult=0.8), 'head': dict(lr_mult=3.0)})
    block = 'backbone.model.model.blocks'
    assert got['head.weight'] == 3.0
    assert got[f'{block}.1.mlp.fc2.weight'] == pytest.approx(0.4)
    assert got[f'{block}.0.norm1.bias'] == pytest.approx(0.2)
    for name in ('pos_embed', 'cls_token', 'patch_embed.proj.weight'):
        assert got[f'backbone.model.model.{name}'] == pytest.approx(0.1)


def test_frozen_parameters_are_in_no_group(swin: nn.Module) -> None:
    swin.backbone.patch_embed.requires_grad_(False)
    assert not any('patch_embed' in name for name in rates(swin))


def test_layers_that_are_not_known(swin: nn.Module) -> None:
    with pytest.raises(ValueError, match='does not know the layers of Conv2d'):
        rates(with_head(nn.Conv2d(3, 4, 1)))
    swin.backbone.register_parameter('extra', nn.Parameter(torch.zeros(1)))
    with pytest.raises(ValueError, match='in which layer of the Swin Transformer extra is'):
        rates(swin)
    for rate in (None, 0.0, 1.5, 'high'):
        with pytest.raises(ValueError, match='layer_decay_rate above 0 and up to 1'):
            rates(swin, layer_decay_rate=rate)
