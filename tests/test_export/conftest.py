"""Small models of each kind whose query selections are no near ties, and files that were made of them."""

import pytest
import torch
from mmengine.config import Config

from mmmaskdino.datasets.shapes import METAINFO
from mmmaskdino.export.network import ExportedNetwork

CONFIGS = dict(
    instance='maskdino_r50_coco_instance',
    detection='maskdino_r50_coco_detection',
    panoptic='maskdino_r18_shapes_panoptic',
    semantic='maskdino_r18_shapes_semantic',
)


@pytest.fixture(scope='session')
def small_config(project_root, shrink):
    """A shipped config of a kind with a small model."""

    def config(kind):
        cfg = Config.fromfile(project_root / 'configs' / 'maskdino' / f'{CONFIGS[kind]}.py')
        cfg.model.backbone.depth = 18
        if 'max_per_image' in (cfg.model.test_cfg or {}):
            cfg.model.test_cfg.max_per_image = 10
        return shrink(cfg)

    return config


@pytest.fixture(scope='session')
def make_clear_model(make_model):
    """A model with seeded weights. Its classes are far apart, so that no rounding changes what is selected."""

    def make(cfg):
        torch.manual_seed(0)
        model = make_model(cfg)
        head = model.decode_head if hasattr(model, 'decode_head') else model.panoptic_head
        with torch.no_grad():
            head.heads.classify.weight.mul_(4)
            head.heads.classify.bias.fill_(-2)
            if head.with_masks:
                head.heads.embed_mask.layers[-1].weight.mul_(4)
        classes = METAINFO['classes'] if head.num_classes == 10 else [str(i) for i in range(head.num_classes)]
        model.dataset_meta = dict(METAINFO if head.num_classes == 10 else {}, classes=tuple(classes))
        return model.eval()

    return make


@pytest.fixture
def make_network(small_config, make_clear_model):
    """Config and network of a kind; `changes` by dotted config key."""

    def make(kind, with_results=True, changes=None):
        cfg = small_config(kind)
        cfg.merge_from_dict(changes or {})
        return cfg, ExportedNetwork(make_clear_model(cfg), with_results)

    return make
