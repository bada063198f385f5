from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import torch
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmmaskdino.datasets.shapes import make_shapes_dataset
from mmmaskdino.visualization import PictureHook


class FindsNothing(torch.nn.Module):
    """A model that predicts no object."""

    def test_step(self, data: dict) -> list[DetDataSample]:
        nothing = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long(), scores=torch.zeros(0))
        return [DetDataSample(pred_instances=nothing) for _ in data['inputs']]


def test_a_row_for_each_of_the_first_images(project_root: Path, tmp_path: Path, mmdet_scope) -> None:
    root = make_shapes_dataset(tmp_path / 'shapes', 0, 3, size=64, progress=False)
    cfg = Config.fromfile(project_root / 'configs' / 'maskdino' / 'maskdino_r18_shapes_instance.py')
    dataset = DATASETS.build(dict(cfg.val_dataloader.dataset, data_root=f'{root}/'))
    runner = SimpleNamespace(
        model=FindsNothing(), val_dataloader=SimpleNamespace(dataset=dataset), work_dir=str(tmp_path), iter=12
    )
    heights = []
    for num_images in (1, 2, 9):
        PictureHook(num_images).after_val_epoch(runner)
        heights.append(len(cv2.imread(str(tmp_path / 'pictures' / 'iter_000012.png'))))
    assert heights[0] < heights[1] < heights[2]
    assert heights[2] - heights[1] == heights[1] - heights[0], '9 images are wanted and 3 are there'
