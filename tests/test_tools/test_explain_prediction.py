"""tools/analysis_tools/explain_prediction.py, from a config, weights and an image to pictures."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

TOOL = 'analysis_tools/explain_prediction.py'


@pytest.fixture
def prepare(project_root, tmp_path):
    """Config, weights and image of a small untrained model."""

    def _prepare(name):
        cfg = Config.fromfile(project_root / 'configs' / 'maskdino' / f'{name}.py')
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            model = MODELS.build(cfg.model)
        paths = [tmp_path / file for file in ('config.py', 'weights.pth', 'photo.png')]
        cfg.dump(paths[0])
        torch.save(dict(state_dict=model.state_dict()), paths[1])
        cv2.imwrite(str(paths[2]), np.random.default_rng(0).integers(256, size=(90, 120, 3), dtype=np.uint8))
        return paths

    return _prepare


def test_panoptic(prepare, run_tool, tmp_path):
    paths = prepare('maskdino_r18_shapes_panoptic')
    assert run_tool(TOOL, *paths, tmp_path / 'out', '--object', 2) == 0
    pictures = {path.name: cv2.imread(str(path)) for path in (tmp_path / 'out').iterdir()}
    assert set(pictures) == {'layers.png', 'sampling_points.png', 'tokens.png'}
    assert all(picture.shape[1] > 1000 for picture in pictures.values())


def test_semantic(prepare, run_tool, tmp_path):
    paths = prepare('maskdino_r18_shapes_semantic')
    assert run_tool(TOOL, *paths, tmp_path / 'out') == 0
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'layers.png', 'sampling_points.png'}


def test_errors_are_messages(prepare, run_tool, tmp_path):
    config, weights, image = prepare('maskdino_r18_shapes_panoptic')
    message = run_tool(TOOL, config, weights, image, tmp_path / 'out', '--at', 500, 10)
    assert 'explain_prediction.py: (500, 10) lies outside the image of 120 x 90 pixels' in message
    assert 'letter.jpg' in run_tool(TOOL, config, weights, tmp_path / 'letter.jpg', tmp_path / 'out')
