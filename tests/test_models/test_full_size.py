"""One training step and one prediction of whole models: shipped configs as they are, but for weights and images.

One config of each kind of head and of backbone; with MMMASKDINO_ALL_CONFIGS=1 in the environment, every config (several
minutes, and 5 GiB of memory for a Swin-L). All are run with less width and depth in test_detectors, test_decode_heads,
test_ablations and test_backbones, and built at full size, without memory for weights, in those and test_configs.
"""

import logging
import os
from pathlib import Path

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

pytestmark = pytest.mark.slow
CONFIGS = Path(__file__).parents[2] / 'configs' / 'maskdino'
SIZE = (64, 96)
NAMES = [
    'maskdino_r50_coco_panoptic',
    'maskdino_r50_coco_detection',
    'maskdino_r50_ade20k_semantic',
    'ablations/maskdino_r50_coco_instance_12e_predicted-boxes_learned-queries',
    'backbones/maskdino_swin-t_coco_instance',
    'backbones/maskdino_convnext-t_coco_instance',
    'backbones/maskdino_timm-vit-s-dinov2_coco_instance',
]
if os.environ.get('MMMASKDINO_ALL_CONFIGS'):
    NAMES = sorted(path.relative_to(CONFIGS).with_suffix('').as_posix() for path in CONFIGS.rglob('maskdino_*.py'))


@pytest.fixture(autouse=True)
def _short_log():
    """The constructor of the optimiser logs several lines for each parameter."""
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


def load(name):
    """A config without pre-trained weights, for small images."""
    if 'maskdino_convnext' in name:
        pytest.importorskip('mmpretrain')
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    cfg.model.backbone.update(
        dict(init_cfg=None, **(dict(pretrained=False) if cfg.model.backbone.type == 'TimmBackbone' else {}))
    )
    if cfg.model.data_preprocessor.get('size'):
        cfg.model.data_preprocessor.size = SIZE
    return cfg


@pytest.fixture
def make_data(make_batch, make_seg_batch):
    """One image for a model."""

    def make(model):
        if hasattr(model, 'decode_head'):
            return make_seg_batch([SIZE], model.decode_head.num_classes)
        head = model.panoptic_head
        return make_batch([3], [SIZE], head.num_things_classes, head.num_stuff_classes, head.with_masks)

    return make


@pytest.mark.parametrize('name', NAMES)
def test_training_step_and_prediction(name, make_data):
    cfg = load(name)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    trained = [p for p in model.parameters() if p.requires_grad]
    before = [p.detach().double().sum() for p in trained]
    losses = model.train().train_step(make_data(model), optimizer)
    assert losses['loss'].isfinite()
    moved = [p.detach().double().sum() != old for p, old in zip(trained, before, strict=True)]
    # Clipped as in the recipe, the gradients of some are too small to move a number in float32.
    assert sum(moved) > 0.8 * len(trained)

    (result,) = model.eval().test_step(make_data(model))
    if 'semantic' in name:
        labels = result.pred_sem_seg.data
        assert labels.shape == (1, *SIZE) and labels.min() >= 0 and labels.max() < model.decode_head.num_classes
    else:
        scores = result.pred_instances.scores
        assert len(scores) and scores.isfinite().all() and (scores.diff() <= 0).all()
