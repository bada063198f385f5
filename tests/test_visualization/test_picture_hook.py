from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.structures import InstanceData
from mmengine.visualization.vis_backend import LocalVisBackend, MLflowVisBackend

from mmmaskdino.datasets.shapes import make_shapes_dataset
from mmmaskdino.visualization import PictureHook


class FindsNothing(torch.nn.Module):
    """A model that predicts no object."""

    def test_step(self, data: dict) -> list[DetDataSample]:
        nothing = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long(), scores=torch.zeros(0))
        return [DetDataSample(pred_instances=nothing) for _ in data['inputs']]


class Weighed(FindsNothing):
    """One that remembers with which weight it predicts."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.used: list[float] = []

    def test_step(self, data: dict) -> list[DetDataSample]:
        self.used.append(self.weight.item())
        return super().test_step(data)


class Pictures:
    """A backend that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[tuple] = []

    def add_image(self, name: str, image: np.ndarray, step: int = 0) -> None:
        self.got.append((name, image, step))


class MLflowPictures(Pictures, MLflowVisBackend):
    pass


class LocalPictures(Pictures, LocalVisBackend):
    pass


@pytest.fixture
def runner(project_root: Path, tmp_path: Path, mmdet_scope) -> SimpleNamespace:
    """A training with three images for validation."""
    root = make_shapes_dataset(tmp_path / 'shapes', 0, 3, size=64, progress=False)
    cfg = Config.fromfile(project_root / 'configs' / 'maskdino' / 'maskdino_r18_shapes_instance.py')
    dataset = DATASETS.build(dict(cfg.val_dataloader.dataset, data_root=f'{root}/'))
    return SimpleNamespace(
        model=FindsNothing(),
        val_dataloader=SimpleNamespace(dataset=dataset),
        work_dir=str(tmp_path),
        iter=12,
        hooks=[],
        visualizer=SimpleNamespace(_vis_backends={}),
    )


def read(runner: SimpleNamespace) -> np.ndarray:
    return cv2.imread(f'{runner.work_dir}/pictures/iter_000012.png')


def test_a_row_for_each_of_the_first_images(runner: SimpleNamespace) -> None:
    heights = []
    for num_images in (1, 2, 9):
        PictureHook(num_images).after_val_epoch(runner)
        heights.append(len(read(runner)))
    assert heights[0] < heights[1] < heights[2]
    assert heights[2] - heights[1] == heights[1] - heights[0], '9 images are wanted and 3 are there'


def test_backends_get_the_picture(runner: SimpleNamespace) -> None:
    """MLflow by a name of its own for each, as a file; the local one would write the file again."""
    backends = dict(a=Pictures(), b=MLflowPictures(), c=LocalPictures())
    runner.visualizer._vis_backends = backends
    PictureHook(1).after_val_epoch(runner)
    ((name, image, step),) = backends['a'].got
    assert (name, step) == ('pictures', 12) and (image[..., ::-1] == read(runner)).all()
    assert [name for name, *_ in backends['b'].got] == ['pictures/iter_000012.png'] and not backends['c'].got


def test_of_averaged_weights_these_are_drawn(runner: SimpleNamespace) -> None:
    runner.model = Weighed()
    runner.hooks = [EMAHook(momentum=0.5)]
    runner.hooks[0].before_run(runner)
    torch.nn.init.constant_(runner.model.weight, 3.0)
    PictureHook(1).after_val_epoch(runner)
    assert runner.model.used == [1.0] and runner.model.weight.item() == 3.0
