"""What the options of `mmmaskdino train` do to the config; tests/test_tools/test_launch_scripts.py runs it."""

from __future__ import annotations

import argparse
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import EpochBasedTrainLoop

from mmmaskdino.apis.training import build_train_config, check_epochs_end
from mmmaskdino.cli import train


@pytest.fixture
def build(tmp_path: Path) -> Any:
    """Makes the config of a small config file and command-line arguments."""

    def _build(text: str, *arguments: str) -> Config:
        path = tmp_path / 'toy.py'
        path.write_text(text)
        parser = argparse.ArgumentParser()
        train.add_arguments(parser)
        return build_train_config(parser.parse_args([str(path), '--work-dir', str(tmp_path / 'work'), *arguments]))

    return _build


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint that mmengine left in the work dir."""
    path = tmp_path / 'work' / 'epoch_3.pth'
    path.parent.mkdir()
    torch.save({}, path)
    (path.parent / 'last_checkpoint').write_text(str(path))
    return path


OPTIMIZER = "optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW'))\n"


def test_amp_wraps_with_a_dynamic_loss_scale(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    wrapper = build(OPTIMIZER, '--amp').optim_wrapper
    assert (wrapper.type, wrapper.loss_scale, wrapper.optimizer.type) == ('AmpOptimWrapper', 'dynamic', 'AdamW')


def test_amp_keeps_what_the_config_sets(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    text = "optim_wrapper = dict(type='AmpOptimWrapper', loss_scale=512.0, dtype='bfloat16')\n"
    assert build(text, '--amp').optim_wrapper.to_dict() == {
        'type': 'AmpOptimWrapper',
        'loss_scale': 512.0,
        'dtype': 'bfloat16',
    }


def test_amp_rejects_the_cpu_and_other_wrappers(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match='--amp needs a CUDA device'):
        build(OPTIMIZER, '--amp')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    with pytest.raises(ValueError, match='optim_wrapper.type.*ApexOptimWrapper'):
        build("optim_wrapper = dict(type='ApexOptimWrapper')\n", '--amp')


def test_auto_scale_lr_needs_a_base_batch_size(build: Any) -> None:
    assert build('auto_scale_lr = dict(base_batch_size=16)\n', '--auto-scale-lr').auto_scale_lr.enable is True
    for text in ('', 'auto_scale_lr = None\n', 'auto_scale_lr = dict(enable=False)\n'):
        with pytest.raises(ValueError, match='base_batch_size'):
            build(text, '--auto-scale-lr')


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('train_dataloader.batch_size=0', 'train_dataloader.batch_size: expected a whole number, 1 or more, got 0'),
        ('train_dataloader.num_workers=-1', 'train_dataloader.num_workers: expected a whole number, 0 or more, got -1'),
        ('train_cfg.max_iters=abc', "train_cfg.max_iters: expected a whole number, 1 or more, got 'abc'"),
        ('train_cfg.val_interval=0', 'train_cfg.val_interval: expected a whole number, 1 or more, got 0'),
        ('train_cfg.val_interval=1.5', 'train_cfg.val_interval: expected a whole number, 1 or more, got 1.5'),
        ('optim_wrapper.optimizer.lr=nan', 'optim_wrapper.optimizer.lr: expected a number, 0 or more, got'),
        ('optim_wrapper.optimizer.lr=-1e-4', 'optim_wrapper.optimizer.lr: expected a number, 0 or more, got -0.0001'),
    ],
)
def test_numbers_that_are_none(build: Any, option: str, message: str) -> None:
    text = (
        "optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-4))\n"
        'train_cfg = dict(max_iters=1e4, val_interval=1000)\n'
        'train_dataloader = dict(batch_size=2, num_workers=0)\n'
    )
    build(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        build(text, '--cfg-options', option)


def test_resume_takes_the_last_checkpoint(build: Any, checkpoint: Path) -> None:
    cfg = build("load_from = 'pretrained.pth'\n", '--resume')
    assert (cfg.resume, cfg.load_from) == (True, str(checkpoint))


def test_resume_of_a_first_run_keeps_pretrained_weights(build: Any) -> None:
    cfg = build("load_from = 'pretrained.pth'\n", '--resume')
    assert not cfg.get('resume')
    assert cfg.load_from == 'pretrained.pth'


def test_resume_from_a_named_checkpoint(build: Any, checkpoint: Path, tmp_path: Path) -> None:
    cfg = build('', '--resume', str(checkpoint))
    assert (cfg.resume, cfg.load_from) == (True, str(checkpoint))
    with pytest.raises(ValueError, match='missing.pth'):
        build('', '--resume', str(tmp_path / 'missing.pth'))


@pytest.mark.parametrize(('sampler', 'is_endless'), [('InfiniteSampler', True), ('DefaultSampler', False)])
def test_epochs_with_an_endless_sampler_are_rejected(sampler: str, is_endless: bool) -> None:
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    loop.dataloader = SimpleNamespace(sampler=DATA_SAMPLERS.build(dict(type=sampler, dataset=range(5))))
    wanted = 'train_dataloader.sampler: InfiniteSampler has no end.*DefaultSampler'
    with pytest.raises(ValueError, match=wanted) if is_endless else nullcontext():
        check_epochs_end(loop)


def test_iterations_may_have_an_endless_sampler() -> None:
    loop = SimpleNamespace(dataloader=SimpleNamespace(sampler=InfiniteSampler(range(5))))
    check_epochs_end(loop)


MODEL = "model = dict(backbone=dict(init_cfg=dict(checkpoint='torchvision://resnet50')))\n"


def test_weights_of_a_whole_model_replace_those_of_the_backbone(build: Any, checkpoint: Path) -> None:
    for weights, expected in (('maskdino_r50_coco_instance',) * 2, (str(checkpoint.parent), str(checkpoint))):
        cfg = build(MODEL, '--load-from', weights)
        assert cfg.load_from.removeprefix('maskdino://') == expected and cfg.model.backbone.init_cfg is None
    for weights in ('maskdino://dino_r50_coco_12e', 'dino_r50_coco_12e', str(checkpoint.parent)):
        cfg = build(MODEL, '--cfg-options', f'load_from={weights}')
        assert cfg.load_from in ('maskdino://dino_r50_coco_12e', str(checkpoint)) and cfg.model.backbone.init_cfg


@pytest.mark.parametrize('arguments', [('--load-from', '{}'), ('--cfg-options', 'load_from=maskdino://{}')])
def test_what_a_training_cannot_start_from(build: Any, arguments: tuple[str, str]) -> None:
    """mmengine would load nothing of it and say so in a line of the log."""
    for name, message in (('resnet50_imagenet', 'init_cfg.checkpoint='), ('maskdino_r50_coco', 'did you mean')):
        with pytest.raises(ValueError, match=message):
            build(MODEL, *(part.format(name) for part in arguments))


def test_resume_from_another_work_directory(build: Any, checkpoint: Path, tmp_path: Path) -> None:
    assert build('', '--resume', str(checkpoint.parent)).load_from == str(checkpoint)
    with pytest.raises(ValueError, match='does not exist'):
        build('', '--resume', str(tmp_path))
