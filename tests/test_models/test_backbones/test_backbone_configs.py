"""Configs of other backbones, and those that the documentation shows."""

import re
import shutil
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmmaskdino.converters.target import build_without_memory

PROJECT = Path(__file__).parents[3]
NAMES = sorted(path.stem for path in (PROJECT / 'configs/maskdino/backbones').glob('*.py'))
UNDECAYED = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.Embedding)
SIZE = (64, 96)


def load(name):
    if name.startswith('maskdino_convnext'):
        pytest.importorskip('mmpretrain')
    return Config.fromfile(PROJECT / 'configs/maskdino/backbones' / f'{name}.py')


def narrow(cfg):
    """The config with a small head, and with random weights."""
    head = cfg.model.decode_head if 'decode_head' in cfg.model else cfg.model.panoptic_head
    head.update(dim=32, mask_dims=32, num_heads=4, num_points=2)
    head.pixel_decoder.update(num_layers=1, ffn_dim=48)
    head.decoder.update(num_layers=2, ffn_dim=48)
    head.query_init.num_queries = 20
    head.criterion.num_points = 64
    if 'size' in cfg.model.data_preprocessor:
        cfg.model.data_preprocessor.size = SIZE
    if cfg.model.backbone.type == 'TimmBackbone':
        cfg.model.backbone.pretrained = False
    elif 'init_cfg' in cfg.model.backbone:
        cfg.model.backbone.init_cfg = None
    return cfg


@pytest.fixture
def run(make_model, make_batch, make_seg_batch):
    """One training step and one prediction; every trained parameter has a gradient."""

    def run_model(cfg):
        model = make_model(cfg).train()
        if cfg.default_scope == 'mmseg':
            batch = make_seg_batch([SIZE], model.decode_head.num_classes)
        else:
            head = model.panoptic_head
            batch = make_batch([3], None, head.num_things_classes, head.num_stuff_classes)
        total, _ = model.parse_losses(model(**model.data_preprocessor(batch, training=True), mode='loss'))
        total.backward()
        trained = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
        assert [n for n, grad in trained.items() if grad is None or not grad.isfinite().all()] == []
        model.eval()
        with torch.no_grad():
            (sample,) = model(**model.data_preprocessor(batch, training=False), mode='predict')
        return sample

    return run_model


@pytest.mark.parametrize('name', NAMES)
def test_only_the_backbone_differs(name):
    """From the ResNet-50: weights of the head, but for its input convolutions, and what is not in the model."""
    base_name = re.sub(r'maskdino_[^_]+', 'maskdino_r50', name)
    cfg, base = load(name), Config.fromfile(PROJECT / f'configs/maskdino/{base_name}.py')
    for key in ('train_dataloader', 'val_dataloader', 'train_cfg', 'param_scheduler', 'val_evaluator', 'custom_hooks'):
        assert cfg[key] == base[key]
    head = 'decode_head' if 'decode_head' in cfg.model else 'panoptic_head'
    assert dict(cfg.model[head], in_channels=None) == dict(base.model[head], in_channels=None)


@pytest.mark.parametrize('name', NAMES)
def test_weight_decay(name):
    cfg = load(name)
    model = build_without_memory(cfg)
    modules = dict(model.named_modules())
    names = {id(p): n for n, p in model.named_parameters()}
    for group in build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups:
        full_name = names[id(group['params'][0])]
        module, _, own_name = full_name.rpartition('.')
        position = own_name in ('relative_position_bias_table', 'pos_embed', 'cls_token', 'reg_token')
        undecayed = position or isinstance(modules[module], UNDECAYED)
        assert group['weight_decay'] == (0.0 if undecayed else 0.05), full_name
        assert group['lr'] == pytest.approx(1e-5 if full_name.startswith('backbone.') else 1e-4), full_name


@pytest.mark.parametrize('name', NAMES)
def test_training_step_and_prediction(name, run):
    sample = run(narrow(load(name)))
    if name.endswith('semantic'):
        assert sample.pred_sem_seg.data.shape == (1, *SIZE)
    else:
        assert sample.pred_instances.masks.shape[1:] == SIZE


@pytest.fixture
def documented(tmp_path):
    """The Python blocks of docs/backbones.md: their text, or a config beside the shipped ones made of it."""
    blocks = re.findall(r'```python\n(.*?)```', (PROJECT / 'docs/backbones.md').read_text(), re.DOTALL)

    def find(phrase, as_config=True):
        (block,) = [block for block in blocks if phrase in block]
        if not as_config:
            return block
        configs = shutil.copytree(PROJECT / 'configs', tmp_path / 'configs')
        (configs / 'maskdino' / 'documented.py').write_text(block)
        return Config.fromfile(configs / 'maskdino' / 'documented.py')

    return find


def test_documented_timm_model_has_five_lines(documented, run):
    cfg = documented("model_name='convnext_atto'")
    assert len(documented("model_name='convnext_atto'", as_config=False).splitlines()) == 5
    channels = documented('feature_info', as_config=False).splitlines()[-1]
    assert eval(channels, dict(timm=timm)) == cfg.model.panoptic_head.in_channels
    assert run(cfg).pred_instances.masks.shape[1:] == SIZE


def test_documented_plain_vision_transformer(documented, run):
    assert run(documented('vit_small_patch14_dinov2')).pred_instances.masks.shape[1:] == SIZE


def test_documented_backbone_of_ones_own(documented, run):
    exec(documented('nn.Module', as_config=False), {'__name__': 'my_backbone'})
    assert run(documented("type='FourConvolutions'")).pred_instances.masks.shape[1:] == SIZE
