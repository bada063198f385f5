"""Fixtures for all tests."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', 2)))


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
        if os.environ.get('CI') == 'true':
            pytest.fail(f'{folder} is missing, and the CI must not skip the tests that need it')
        pytest.skip(f'{folder} is missing')
    return folder


@pytest.fixture
def mmdet_scope() -> Iterator[None]:
    """Types without a scope prefix are looked up in mmdet, as in a run of one of the configs."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield
