"""A predictor with small random weights, and photographs."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmmaskdino.apis import Limits, Predictor
from mmmaskdino.page.viewer import Viewer

SIZE = (90, 120)


@pytest.fixture(scope='session')
def make_predictor(project_root, shrink, make_model, tmp_path_factory):
    """Of a shipped config whose model is shrunk; all classes are equally likely at first."""

    def make(name='maskdino_r18_shapes_panoptic', limits=None):
        cfg = shrink(Config.fromfile(project_root / 'configs' / 'maskdino' / f'{name}.py'))
        if 'panoptic_head' in cfg.model:
            cfg.model.panoptic_head.box_prior = None  # or masks would end at their boxes without being cut
        torch.manual_seed(0)
        weights = tmp_path_factory.mktemp('weights') / 'model.pth'
        torch.save(dict(state_dict=make_model(cfg).state_dict()), weights)
        return Predictor(cfg, weights, device='cpu', limits=limits)

    return make


@pytest.fixture(scope='session')
def viewer(make_predictor):
    return Viewer(make_predictor(limits=Limits(max_megapixels=0.1)))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / 'photo.png'
    Image.fromarray(np.random.default_rng(0).integers(256, size=(*SIZE, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def no_image(tmp_path):
    path = tmp_path / 'letter.jpg'
    path.write_text('Dear reader, this is a letter.')
    return path
