"""Small untrained models whose scores are high enough for results, on the disk as config and checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from mmmaskdino.datasets.shapes import METAINFO


class Files(NamedTuple):
    """Of a model."""

    config: Path
    weights: Path


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two are hardly faster on operations as small as these."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope='session')
def model_files(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Files]:
    """Config and weights of `maskdino_r18_shapes_{panoptic,semantic,detection}`, by the task."""
    known: dict[str, Files] = {}

    def make(task: str) -> Files:
        if task not in known:
            known[task] = _write_model(project_root, tmp_path_factory.mktemp(task), task)
        return known[task]

    return make


def _write_model(project_root: Path, folder: Path, task: str) -> Files:
    config = project_root / 'configs' / 'maskdino' / f'maskdino_r18_shapes_{task}.py'
    cfg = Config.fromfile(config)
    torch.manual_seed(2)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    model.init_weights()
    head = model.decode_head if task == 'semantic' else model.panoptic_head
    with torch.no_grad():  # such that queries differ
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        torch.nn.init.normal_(head.heads.classify.weight, std=0.5)
        torch.nn.init.zeros_(head.heads.classify.bias)
        if head.with_masks:
            head.heads.embed_mask.layers[-1].weight.mul_(3)
    classes = METAINFO['thing_classes'] if task == 'detection' else METAINFO['classes']
    meta = dict(dataset_meta=dict(classes=classes, palette=METAINFO['palette'][: len(classes)]))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'model.pth')
    return Files(config, folder / 'model.pth')


@pytest.fixture
def make_image(tmp_path: Path) -> Callable[..., Path]:
    """Writes a picture of smooth noise, (height, width)."""

    def make(name: str, size: tuple[int, int] = (50, 70)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(len(name)).integers(255, size=(5, 7, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC).save(path)
        return path

    return make
