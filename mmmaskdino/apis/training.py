"""Training from a config file and command-line options."""

from __future__ import annotations

import itertools
import math
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop
from mmengine.runner.base_loop import BaseLoop

from mmmaskdino.apis.launch import build_runner, load_config, prepare_launcher
from mmmaskdino.engine import find_resumable_checkpoint, is_complete
from mmmaskdino.hub import find_start, read_table
from mmmaskdino.hub.table import SCHEME

# Whole numbers of a training, and the least of each.
COUNTS = {
    'train_cfg.max_iters': 1,
    'train_cfg.max_epochs': 1,
    'train_cfg.val_interval': 1,
    'optim_wrapper.accumulative_counts': 1,
    **{f'{part}_dataloader.batch_size': 1 for part in ('train', 'val')},
    **{f'{part}_dataloader.num_workers': 0 for part in ('train', 'val')},
}
RATE = 'optim_wrapper.optimizer.lr'


def build_train_config(args: Namespace) -> Config:
    """The config file with everything the command line says.

    Args:
        args: The arguments of `mmmaskdino train`.

    Raises:
        ValueError: An option cannot be followed.
    """
    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    if args.load_from:
        start_from(cfg, args.load_from)
    elif _stands_for_weights(cfg.get('load_from')):
        cfg.load_from = find_start(cfg.load_from)[0]
    if args.amp:
        enable_amp(cfg)
    if args.auto_scale_lr:
        enable_auto_scale_lr(cfg)
    if args.resume is not None:
        set_resume(cfg, args.resume)
    elif cfg.get('resume') and not cfg.get('load_from'):
        set_resume(cfg, 'auto')
    check_numbers(cfg)
    prepare_launcher(cfg, args.launcher)
    return cfg


def check_numbers(cfg: Config) -> None:
    """Reject numbers with which a training fails, some of them only after its first steps.

    Raises:
        ValueError: A number of steps, images or processes is none, or the learning rate.
    """
    for key, least in COUNTS.items():
        value = _value(cfg, key)
        if value is not None and not (_is_number(value) and value == int(value) and value >= least):
            raise ValueError(f'{key}: expected a whole number, {least} or more, got {value!r}')
    rate = _value(cfg, RATE)
    if rate is not None and not (_is_number(rate) and rate >= 0):
        raise ValueError(f'{RATE}: expected a number, 0 or more, got {rate!r}')


def _value(cfg: Config, key: str) -> Any:
    value: Any = cfg
    for name in key.split('.'):
        value = value.get(name) if isinstance(value, (Config, dict)) else None
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _stands_for_weights(weights: str | None) -> bool:
    """Whether it is a name or a folder, and no file or address."""
    if not weights or Path(weights).is_file():
        return False
    return str(weights).startswith(SCHEME) or Path(weights).is_dir() or weights in read_table()


def start_from(cfg: Config, weights: str) -> None:
    """Start from the weights of a whole model: those of its backbone alone are not loaded, nor fetched, before.

    Args:
        cfg: Changed in place.
        weights: As of :func:`mmmaskdino.hub.find_start`.

    Raises:
        ValueError: They do not exist.
    """
    address, remark = find_start(weights)
    cfg.load_from = address
    if remark:
        print(remark, file=sys.stderr)
    cfg.model.backbone.init_cfg = None


def train(cfg: Config) -> None:
    """Train as the config says. The runner is gone afterwards, as `process_group` wants it.

    Raises:
        ValueError: The training would never end.
    """
    runner = build_runner(cfg)
    check_epochs_end(runner.train_loop)
    runner.train()


def check_epochs_end(loop: BaseLoop) -> None:
    """Reject a training by epochs whose sampler has no end, so that the first epoch had none.

    Args:
        loop: The training loop.

    Raises:
        ValueError: Naming the sampler and what to set.
    """
    sampler = getattr(loop.dataloader, 'sampler', None)
    if not isinstance(loop, EpochBasedTrainLoop) or not hasattr(sampler, '__len__'):
        return
    expected = len(sampler)
    if sum(1 for _ in itertools.islice(sampler, expected + 1)) > expected:
        raise ValueError(
            f'train_dataloader.sampler: {type(sampler).__name__} has no end, so an epoch with it never ends; set '
            "train_dataloader.sampler=dict(type='DefaultSampler', shuffle=True) for train_cfg.type="
            f'{type(loop).__name__}, or train by iterations (ResumableTrainLoop)'
        )


def enable_amp(cfg: Config) -> None:
    """Turn the optimiser wrapper into a mixed precision one; its loss scale is dynamic unless the config has another.

    Raises:
        ValueError: If no CUDA device is visible or the wrapper is of a kind that cannot be turned into one.
    """
    if not torch.cuda.is_available():
        raise ValueError('--amp needs a CUDA device, and none is visible; leave --amp away to train in float32')
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ValueError(f'--amp expects optim_wrapper.type to be OptimWrapper or AmpOptimWrapper, got {kind}')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def enable_auto_scale_lr(cfg: Config) -> None:
    """Let the Runner scale the learning rate.

    Raises:
        ValueError: If the config does not tell the batch size that its learning rate is for.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ValueError('--auto-scale-lr expects auto_scale_lr = dict(base_batch_size=...) in the config, got none')
    cfg.auto_scale_lr.enable = True


def set_resume(cfg: Config, checkpoint: str) -> None:
    """Go on from a checkpoint; with `auto` from the work dir's last complete one, or else start as the config says.
    Another work directory stands for its last complete one, too.

    Raises:
        ValueError: If the checkpoint is not there or not complete.
    """
    if checkpoint == 'auto':
        checkpoint = find_resumable_checkpoint(cfg.work_dir)
        if checkpoint is None:  # a first run: the weights of the config's load_from are still wanted
            cfg.resume = False
            return
    if Path(checkpoint).is_dir():
        checkpoint = find_resumable_checkpoint(checkpoint) or checkpoint
    if '://' not in checkpoint and not Path(checkpoint).is_file():
        raise ValueError(f'checkpoint to resume from does not exist: {checkpoint}')
    if '://' not in checkpoint and not is_complete(Path(checkpoint)):
        raise ValueError(f'checkpoint to resume from is damaged or was not written to its end: {checkpoint}')
    cfg.resume = True
    cfg.load_from = checkpoint
