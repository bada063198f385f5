"""The ways to predict, beside mmdet's inferencer, with a small model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmmaskdino.datasets.shapes import METAINFO
from mmmaskdino.export.exporter import export_onnx

TOOL = 'analysis_tools/benchmark_prediction.py'


@pytest.fixture(scope='module')
def files(project_root: Path, shrink: Callable, make_model: Callable, tmp_path_factory) -> tuple[Path, ...]:
    """Config, weights, exported file and a folder of two images."""
    folder = tmp_path_factory.mktemp('prediction')
    cfg = shrink(Config.fromfile(project_root / 'configs/maskdino/maskdino_r18_shapes_instance.py'))
    cfg.model.test_cfg.max_per_image = 5
    model = make_model(cfg).eval()
    model.dataset_meta = dict(classes=METAINFO['thing_classes'])
    cfg.dump(folder / 'config.py')
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=model.dataset_meta)), folder / 'model.pth')
    export_onnx(model, Config.fromfile(folder / 'config.py'), folder / 'model.onnx', runtimes=[])
    (folder / 'images').mkdir()
    for name in ('a', 'b'):
        Image.fromarray(np.random.randint(255, size=(50, 70, 3), dtype=np.uint8)).save(folder / f'images/{name}.png')
    return folder / 'config.py', folder / 'model.pth', folder / 'model.onnx', folder / 'images'


def test_all_ways_find_the_same(run_tool, files: tuple[Path, ...], tmp_path: Path, capsys) -> None:
    config, weights, onnx, images = files
    found = tmp_path / 'found.json'
    options = ['--score-thr', 0, '--onnx', onnx, '--rounds', 1, '--threads', 1, '--json', found, '--save', 'pictures']
    assert run_tool(TOOL, config, weights, images, *options, 'instances') == 0
    found = json.loads(found.read_text())
    assert found['setting']['images'] == 2
    assert [figure['objects'] for figure in found['figures'].values()] == [5] * 7
    for name, rounds in found['rounds'].items():
        assert len(rounds) == 2
        for run in rounds:
            assert min(run['parts'].values()) > 0, name
    assert '| OpenVINO | ' in capsys.readouterr().out


def test_an_image_that_cannot_be_read(run_tool, files: tuple[Path, ...], tmp_path: Path) -> None:
    config, weights, *_ = files
    (tmp_path / 'broken.png').write_text('no image')
    message = run_tool(TOOL, config, weights, tmp_path / 'broken.png', '--rounds', 1)
    assert 'broken.png' in str(message)
