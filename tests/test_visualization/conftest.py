"""A small panoptic model that has predicted for one image, and what was recorded."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config

from mmmaskdino.visualization.trace import TraceRecorder

FRAME = ((96, 128), (80, 120))


@pytest.fixture(scope='session')
def make_small_model(project_root, make_model):
    """A shipped config's model with a narrow backbone."""

    def make(name='maskdino_r18_shapes_panoptic'):
        cfg = Config.fromfile(project_root / 'configs' / 'maskdino' / f'{name}.py')
        head = cfg.model.get('panoptic_head') or cfg.model.decode_head
        cfg.model.backbone.base_channels = 8
        head.in_channels = [8, 16, 32, 64]
        torch.manual_seed(0)
        return make_model(cfg).eval()

    return make


@pytest.fixture(scope='session')
def recorded(make_small_model):
    """Model, its inputs, their sample and the trace."""
    model = make_small_model()
    canvas, image = FRAME
    inputs = torch.zeros(1, 3, *canvas)
    inputs[..., : image[0], : image[1]] = torch.randn(3, *image)
    sample = DetDataSample(metainfo=dict(batch_input_shape=canvas, img_shape=image, ori_shape=image))
    with TraceRecorder(model) as recorder, torch.no_grad():
        model.predict(inputs, [sample])
    return model, inputs, sample, recorder.trace
