from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import Tensor

from mmmaskdino.converters import read_target
from mmmaskdino.converters.official_head import ALIASES

STRIDES = (7, 5, 3, 1)


def random_tensor(shape: list[int]) -> Tensor:
    """Random values that overlap in memory, so that tensors of a Swin-L cost nothing, and still differ by place."""
    if not shape:
        return torch.tensor(7)
    strides = STRIDES[-len(shape) :]
    size = 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    return torch.randn(size).as_strided(shape, strides)


@pytest.fixture
def make_random():
    """Random tensors of given shapes that need little memory."""
    return random_tensor


@pytest.fixture
def load_config(project_root):
    """A shipped config by name."""
    return lambda name: Config.fromfile(project_root / 'configs' / 'maskdino' / f'{name}.py')


@pytest.fixture
def load_target(load_config):
    """The model of a shipped config."""
    return lambda name: read_target(load_config(name))


@pytest.fixture
def recorded(shared_golden):
    """The recorded facts of a released model."""
    return lambda name: json.loads((shared_golden / 'keys' / f'{name}.json').read_text())


@pytest.fixture
def release(recorded):
    """A random state dict of a released model; names of one tensor have one tensor."""

    def load(name):
        unique, state = {}, {}
        for key, shape in recorded(name)['state_dict'].items():
            main = key.removeprefix('sem_seg_head.')
            for pattern, replacement in ALIASES:
                main = re.sub(pattern, replacement, main)
            state[key] = unique.setdefault(main, random_tensor(shape))
        # A constant in the reference: 1, and 0.1 for no object.
        weights = state['criterion.empty_weight'] = torch.ones(len(state['criterion.empty_weight']))
        weights[-1] = 0.1
        return state

    return load


@pytest.fixture
def golden_weights(shared_golden):
    """Recorded weights, without or with the second names of their tensors."""

    def load(name, aliases=False):
        stored = np.load(shared_golden / 'weights' / f'{name}.npz')
        weights = {key: torch.from_numpy(stored[key]) for key in stored.files if key != '__aliases__'}
        if aliases:
            weights |= {pair.split('=')[0]: weights[pair.split('=')[1]] for pair in map(str, stored['__aliases__'])}
        return weights

    return load
