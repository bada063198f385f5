"""A dataset beside the predictions of a model; drawing it is tested with the tools that do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmmaskdino.datasets.shapes import make_shapes_dataset
from mmmaskdino.visualization.predicted_dataset import PredictedDataset


@pytest.fixture(scope='module')
def config(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shipped config on two generated images, of a narrow model."""
    root = make_shapes_dataset(tmp_path_factory.mktemp('data'), 1, 2, size=64, progress=False)
    cfg = Config.fromfile(project_root / 'configs' / 'maskdino' / 'maskdino_r18_shapes_instance.py')
    cfg.test_dataloader.dataset.data_root = f'{root}/'
    cfg.model.backbone.init_cfg = None
    path = root.parent / 'config.py'
    cfg.dump(path)
    return path


@pytest.fixture(scope='module')
def weights(config: Path) -> dict[str, torch.Tensor]:
    """Of the model of the config."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(Config.fromfile(config).model).state_dict()


def load(config: Path, weights: dict, folder: Path) -> PredictedDataset:
    torch.save(weights, folder / 'weights.pth')
    return PredictedDataset.from_files(config, folder / 'weights.pth', 'cpu')


def test_predictions_of_all_images(config, weights, tmp_path):
    dataset = load(config, weights, tmp_path)
    image, sample = dataset[1]
    assert len(dataset) == 2 and image.shape == (64, 64, 3)
    assert len(sample.gt_instances) and sample.pred_instances.masks.shape[1:] == (64, 64)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda weights: {f'model.{k}': v for k, v in weights.items()}, 'tensors are missing'),
        (lambda weights: {k: v for k, v in weights.items() if k.startswith('backbone')}, 'tensors are missing'),
        (lambda weights: {k: v[..., None] for k, v in weights.items()}, 'have another shape'),
    ],
)
def test_foreign_weights_are_rejected(config, weights, tmp_path, change, message):
    with pytest.raises(ValueError, match=f'weights.pth and the model of .* do not fit together: .*{message}'):
        load(config, change(weights), tmp_path)
