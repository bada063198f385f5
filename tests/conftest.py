"""Fixtures for all tests."""

from __future__ import annotations

import gc
import importlib.util
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmengine.registry import MODELS, DefaultScope
from torch import nn

# On operations as small as these several threads only wait for each other.
torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', 1)))
# Under nohup SIGHUP is ignored, in the background of a script SIGINT, and so they would be in the runs that tests
# start, where they have to end them.
if hasattr(signal, 'SIGHUP') and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
# The first backward pass of a process decides whether autograd starts threads, and with them no later test could fork a
# training. It must not come after a test with fake tensors of a GPU, which make torch believe that there are devices.
torch.ones(1, requires_grad=True).sum().backward()
# What makes a head small; its structure is the config's.
SMALL_HEAD = {
    'dim': 32,
    'num_heads': 4,
    'num_points': 2,
    'pixel_decoder': dict(num_layers=1, ffn_dim=48),
    'query_init.num_queries': 20,
    'decoder': dict(num_layers=2, ffn_dim=48),
    'denoising.num_queries': 10,
    'criterion.num_points': 64,
}
SMALL_SWIN = dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8], window_size=4, drop_path_rate=0.0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files with slow tests first: several processes share the files out in this order."""
    long_files = {item.path for item in items if item.get_closest_marker('slow')}
    items.sort(key=lambda item: item.path not in long_files)


def pytest_collection_finish() -> None:
    """Takes what the imports made out of every later search for garbage; mmengine's datasets start one each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session')
def scene_oracle() -> ModuleType:
    """Scenes whose objects are known, and what a perfect model says of them: `scene_oracle.py`."""
    spec = importlib.util.spec_from_file_location('scene_oracle', Path(__file__).with_name('scene_oracle.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session', autouse=True)
def _quick_runs() -> Iterator[None]:
    """Leaves out most of the time of a short run, which mmengine spends on looks.

    It lays out the text of the config four times with yapf, and logs several lines for each parameter of the model.
    """

    def as_it_is(text: str, **options) -> tuple[str, bool]:
        return text, False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('yapf.yapflib.yapf_api.FormatCode', as_it_is)
        patch.setattr('mmengine.config.config.FormatCode', as_it_is, raising=False)  # imported by older versions
        patch.setattr(BaseModule, '_dump_init_info', lambda self: None)
        yield


@pytest.fixture(autouse=True)
def _seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _same_current_instances() -> Iterator[None]:
    """Tools and runners set mmengine's default scope and logger for good, which a later test would find.

    Such a logger may hold a file that is closed since: mmengine would fail to write to it.
    """
    managers = (DefaultScope, MMLogger)
    before = [manager._instance_dict.copy() for manager in managers]
    yield
    for manager, instances in zip(managers, before, strict=True):
        manager._instance_dict.clear()
        manager._instance_dict.update(instances)


@pytest.fixture(scope='session')
def project_root() -> Path:
    """The folder with setup.py."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def shared_data(project_root: Path) -> Path:
    """The folder of small real datasets beside the project."""
    return _folder_beside(project_root, 'data')


@pytest.fixture(scope='session')
def shared_golden(project_root: Path) -> Path:
    """The folder of recorded reference numbers beside the project."""
    return _folder_beside(project_root, 'golden')


def _folder_beside(project_root: Path, name: str) -> Path:
    folder = project_root.parent / 'shared' / name
    if not folder.is_dir():
        if os.environ.get('CI') == 'true' and os.environ.get('MMMASKDINO_SHARED') != 'absent':
            pytest.fail(f'{folder} is missing, and the CI must not skip the tests that need it')
        pytest.skip(f'{folder} is missing')
    return folder


@pytest.fixture
def mmdet_scope() -> Iterator[None]:
    """Types without a scope prefix are looked up in mmdet, as in a run of one of the configs."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='session')
def shrink() -> Callable[[Config], Config]:
    """Makes the model of a config small in width and depth, in place; the structure stays, and a backbone of timm."""

    def _shrink(cfg: Config) -> Config:
        backbone = cfg.model.backbone
        is_timm = backbone.type == 'TimmBackbone'
        swin = 'Swin' in backbone.type
        first = 32 if not swin and not is_timm and backbone.depth >= 50 else 8
        backbone.update({} if is_timm else SMALL_SWIN if swin else dict(base_channels=8), init_cfg=None)
        head = 'decode_head' if 'decode_head' in cfg.model else 'panoptic_head'
        changes = SMALL_HEAD | ({} if is_timm else {'in_channels': [first, 2 * first, 4 * first, 8 * first]})
        if cfg.model[head].mask_dims is not None:
            changes['mask_dims'] = 32
        cfg.merge_from_dict({f'model.{head}.{key}': value for key, value in changes.items()})
        return cfg

    return _shrink


@pytest.fixture(scope='session')
def perturb() -> Callable[..., nn.Module]:
    """Adds noise to all parameters, in place: a zero-initialised layer would hide everything before it."""

    def _perturb(module: nn.Module, noise: float = 0.05) -> nn.Module:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(noise * torch.randn_like(parameter))
        return module

    return _perturb


@pytest.fixture(scope='session')
def make_model(perturb: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """A detector or segmentor from a config, all its parameters off their special starting values."""

    def make(cfg: Config, noise: float = 0.05) -> nn.Module:
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            model = MODELS.build(cfg.model)
        model.init_weights()
        return perturb(model, noise)

    return make


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds, or leaves, weights in the user's folder for caches."""
    monkeypatch.setenv('MMMASKDINO_HOME', str(tmp_path_factory.getbasetemp() / 'home'))
