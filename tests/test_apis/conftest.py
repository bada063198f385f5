"""Small untrained models whose scores are high enough for results, on the disk as config and checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmmaskdino.datasets.shapes import METAINFO


class Files(NamedTuple):
    """Of a model."""

    config: Path
    weights: Path


@pytest.fixture(scope='session')
def model_files(
    project_root: Path, make_model: Callable[..., nn.Module], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Files]:
    """Config and weights of `maskdino_r18_shapes_{panoptic,semantic,detection}`, by the task."""
    known: dict[str, Files] = {}

    def write(task: str) -> Files:
        config = project_root / 'configs' / 'maskdino' / f'maskdino_r18_shapes_{task}.py'
        cfg = Config.fromfile(config)
        if task == 'panoptic':  # masks that reach out of their boxes, and can be cut
            cfg.model.panoptic_head.box_prior = None
            config = tmp_path_factory.mktemp('configs') / config.name
            cfg.dump(config)
        torch.manual_seed(2)
        model = make_model(cfg, noise=0.2)  # such that queries differ
        head = model.decode_head if task == 'semantic' else model.panoptic_head
        torch.nn.init.normal_(head.heads.classify.weight, std=0.5)
        torch.nn.init.zeros_(head.heads.classify.bias)
        if head.with_masks:
            head.heads.embed_mask.layers[-1].weight.data.mul_(3)
        classes = METAINFO['thing_classes'] if task == 'detection' else METAINFO['classes']
        meta = dict(dataset_meta=dict(classes=classes, palette=METAINFO['palette'][: len(classes)]))
        files = Files(config, tmp_path_factory.mktemp(task) / 'model.pth')
        torch.save(dict(state_dict=model.state_dict(), meta=meta), files.weights)
        return files

    def find(task: str) -> Files:
        if task not in known:
            known[task] = write(task)
        return known[task]

    return find
