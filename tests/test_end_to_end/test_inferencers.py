"""The inference classes of mmdet and mmseg, from a config and a checkpoint."""

import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmengine.config import Config
from mmseg.apis import MMSegInferencer
from PIL import Image

from mmmaskdino.datasets.shapes import METAINFO

SIZE = (50, 70)


@pytest.fixture
def prepare(project_root, shrink, make_model, tmp_path):
    """Config file, checkpoint of an untrained model, and an image."""

    def _prepare(name):
        cfg = shrink(Config.fromfile(project_root / 'configs' / 'maskdino' / f'{name}.py'))
        config, checkpoint, image = tmp_path / f'{name}.py', tmp_path / 'model.pth', tmp_path / 'image.jpg'
        cfg.dump(config)
        torch.save(dict(state_dict=make_model(cfg).state_dict(), meta=dict(dataset_meta=METAINFO)), checkpoint)
        Image.fromarray(np.random.randint(255, size=(*SIZE, 3), dtype=np.uint8)).save(image)
        return str(config), str(checkpoint), str(image)

    return _prepare


def test_mmseg(prepare, tmp_path):
    config, checkpoint, image = prepare('maskdino_r18_shapes_semantic')
    inferencer = MMSegInferencer(model=config, weights=checkpoint, device='cpu')
    out = tmp_path / 'out'
    result = inferencer(image, out_dir=str(out), return_vis=True, opacity=1.0, with_labels=False, show=False)
    labels, picture = result['predictions'], result['visualization']
    assert labels.shape == SIZE and labels.max() < 10
    # Opaque, the picture is the palette.
    assert np.array_equal(picture, np.array(METAINFO['palette'], np.uint8)[labels])
    assert (out / 'vis' / 'image.jpg').is_file()
    assert np.array_equal(np.asarray(Image.open(next((out / 'pred').iterdir()))), labels)


def test_mmdet(prepare, tmp_path):
    config, checkpoint, image = prepare('maskdino_r18_shapes_panoptic')
    inferencer = DetInferencer(model=config, weights=checkpoint, device='cpu', show_progress=False)
    result = inferencer(image, out_dir=str(tmp_path / 'out'), return_datasamples=True)
    (sample,) = result['predictions']
    assert sample.pred_sem_seg.sem_seg.shape == sample.pred_panoptic_seg.sem_seg.shape == (1, *SIZE)
    assert len(sample.pred_instances) == 100
    assert (tmp_path / 'out' / 'vis' / 'image.jpg').is_file()
