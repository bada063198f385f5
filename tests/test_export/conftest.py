"""Small models of each kind whose query selections are no near ties, and files that were made of them."""

import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmmaskdino.datasets.shapes import METAINFO
from mmmaskdino.export.network import ExportedNetwork

CONFIGS = dict(
    instance='maskdino_r50_coco_instance',
    detection='maskdino_r50_coco_detection',
    panoptic='maskdino_r18_shapes_panoptic',
    semantic='maskdino_r18_shapes_semantic',
)
SHRUNK = {
    'in_channels': [8, 16, 32, 64],
    'dim': 32,
    'num_heads': 4,
    'num_points': 2,
    'pixel_decoder': dict(num_layers=1, ffn_dim=48),
    'query_init.num_queries': 20,
    'decoder': dict(num_layers=2, ffn_dim=48),
}


@pytest.fixture(autouse=True)
def _one_thread():
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope='session')
def small_config(project_root):
    """A shipped config of a kind with a small model."""

    def config(kind):
        cfg = Config.fromfile(project_root / 'configs' / 'maskdino' / f'{CONFIGS[kind]}.py')
        head = 'decode_head' if 'decode_head' in cfg.model else 'panoptic_head'
        cfg.merge_from_dict({f'model.{head}.{key}': value for key, value in SHRUNK.items()})
        cfg.model.backbone.update(depth=18, base_channels=8, init_cfg=None)
        if cfg.model[head].mask_dims:
            cfg.model[head].mask_dims = 32
        if 'max_per_image' in (cfg.model.test_cfg or {}):
            cfg.model.test_cfg.max_per_image = 10
        return cfg

    return config


@pytest.fixture(scope='session')
def make_model():
    """A model with seeded weights. Its classes are far apart, so that no rounding changes what is selected."""

    def make(cfg):
        logging.disable(logging.INFO)  # the list of all parameters
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            model = MODELS.build(cfg.model)
        model.init_weights()
        logging.disable(logging.NOTSET)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
            head = model.decode_head if hasattr(model, 'decode_head') else model.panoptic_head
            head.heads.classify.weight.mul_(4)
            head.heads.classify.bias.fill_(-2)
            if head.with_masks:
                head.heads.embed_mask.layers[-1].weight.mul_(4)
        classes = METAINFO['classes'] if head.num_classes == 10 else [str(i) for i in range(head.num_classes)]
        model.dataset_meta = dict(METAINFO if head.num_classes == 10 else {}, classes=tuple(classes))
        return model.eval()

    return make


@pytest.fixture
def make_network(small_config, make_model):
    """Config and network of a kind; `changes` by dotted config key."""

    def make(kind, with_results=True, changes=None):
        cfg = small_config(kind)
        cfg.merge_from_dict(changes or {})
        return cfg, ExportedNetwork(make_model(cfg), with_results)

    return make
