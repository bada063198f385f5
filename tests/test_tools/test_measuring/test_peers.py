"""Detectors of mmdet that are like a Mask DINO in all but what they are."""

import mmdet
import pytest
import torch
from measuring.peers import SMALLER, peer_config
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.utils import digit_version

from mmmaskdino.datasets.shapes import THING_CLASSES, make_shapes_dataset

pytestmark = pytest.mark.usefixtures('mmdet_scope')
HAS_SMALL_DINO = digit_version(mmdet.__version__) > digit_version('3.3.0')
PEERS = [peer for peer in SMALLER if HAS_SMALL_DINO or peer != 'DINO']


@pytest.fixture(scope='module')
def shapes_folder(tmp_path_factory):
    return make_shapes_dataset(tmp_path_factory.mktemp('shapes'), num_train=2, num_val=2, progress=False)


@pytest.fixture
def base(project_root):
    return Config.fromfile(project_root / 'configs/maskdino/maskdino_r18_shapes_panoptic.py')


@pytest.fixture
def photos(project_root):
    cfg = Config.fromfile(project_root / 'configs/maskdino/maskdino_efficientnet-lite0_coco_instance.py')
    cfg.model.backbone.init_cfg = None
    return cfg


def build(cfg):
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


@pytest.mark.parametrize('peer', PEERS)
def test_size_and_training_are_those_of_the_base(base, peer):
    own, cfg = build(base), peer_config(base, peer)
    model = build(cfg)
    assert type(model).__name__ == peer.replace(' ', '').replace('-', '')
    for part in ('optim_wrapper.optimizer', 'param_scheduler', 'train_cfg', 'train_dataloader'):
        keys = part.split('.')
        ours, theirs = base, cfg
        for key in keys:
            ours, theirs = ours[key], theirs[key]
        assert theirs == ours
    assert model.backbone.state_dict().keys() == own.backbone.state_dict().keys()
    counts = [sum(p.numel() for p in m.parameters()) for m in (model, own)]
    assert 0.95 < counts[0] / counts[1] < 1.5


@pytest.mark.parametrize('peer', PEERS)
def test_widths_layers_queries_and_classes(base, peer):
    model = build(peer_config(base, peer))
    if peer == 'Mask2Former':
        head = model.panoptic_head
        found = head.query_feat.weight.shape, len(head.transformer_decoder.layers), head.num_things_classes
        assert found == ((30, 96), 3, 6) and head.num_stuff_classes == 4
        assert len(head.pixel_decoder.encoder.layers) == 1 and head.num_points == 256
        assert model.test_cfg.panoptic_on and model.test_cfg.instance_on
    elif peer == 'DINO':
        assert model.query_embedding.weight.shape == (30, 96) and model.bbox_head.num_classes == 6
        assert (len(model.encoder.layers), len(model.decoder.layers)) == (1, 3)
        assert model.dn_query_generator.num_dn_queries == 30 and model.num_feature_levels == 3
    else:
        assert model.roi_head.bbox_head.num_classes == model.roi_head.mask_head.num_classes == 6
        assert model.neck.out_channels == 96 and model.roi_head.bbox_head.fc_cls.in_features == 256
        assert model.train_cfg.rcnn.sampler.num == 120  # 4 times 30 queries


@pytest.mark.parametrize('peer', PEERS)
def test_metrics_are_those_it_has_results_for(base, peer):
    metrics = peer_config(base, peer).val_evaluator
    found = {metric['type']: metric.get('metric') for metric in metrics}
    if peer == 'Mask2Former':
        assert found == {'PanopticQualityMetric': None, 'CheckedCocoMetric': ['bbox', 'segm']}
    else:
        assert found == {'CheckedCocoMetric': ['bbox'] if peer == 'DINO' else ['bbox', 'segm']}


@pytest.mark.parametrize('peer', PEERS)
@pytest.mark.parametrize('data', ['base', 'photos'])
def test_it_trains_and_its_boxes_lie_on_the_image(peer, data, request, shapes_folder):
    """Generated images keep their size in one config and are resized in the other."""
    cfg = peer_config(request.getfixturevalue(data), peer)
    if data == 'photos':
        for loader, part in ((cfg.train_dataloader, 'train'), (cfg.val_dataloader, 'val')):
            loader.dataset.update(
                data_root=str(shapes_folder) + '/',
                ann_file=f'annotations/instances_{part}.json',
                data_prefix=dict(img=f'{part}/'),
                metainfo=dict(classes=THING_CLASSES),
            )
    if peer == 'Mask R-CNN':
        cfg.model.test_cfg.rcnn.score_thr = 0.0
    batches = {}
    for name in ('train', 'val'):
        loader = cfg[f'{name}_dataloader']
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        loader.dataset.data_root = f'{shapes_folder}/'
        batches[name] = next(iter(Runner.build_dataloader(loader)))
    model = build(cfg)
    losses, _ = model.parse_losses(model._run_forward(model.data_preprocessor(batches['train'], True), 'loss'))
    losses.backward()
    assert all(p.grad is not None for p in model.backbone.parameters() if p.requires_grad)
    model.eval()
    with torch.no_grad():
        result = model.test_step(batches['val'])[0]
    boxes = result.pred_instances.bboxes
    assert len(boxes) and boxes.max() <= 128 + 1e-3 and result.ori_shape == (128, 128)


def test_dino_of_an_mmdet_that_knows_one_width(base, monkeypatch):
    monkeypatch.setattr(mmdet, '__version__', '3.3.0')
    with pytest.raises(ValueError, match='DINO of mmdet 3.3.0 works with 256 channels alone, and .* has 96'):
        peer_config(base, 'DINO')


@pytest.mark.parametrize('peer', [peer for peer in PEERS if peer != 'Mask R-CNN'])
def test_no_more_results_than_queries_times_classes(base, peer):
    """Of which mmdet's detectors fail to take the best."""
    base.model.panoptic_head.query_init.num_queries = 15
    key = 'max_per_img' if peer == 'DINO' else 'max_per_image'
    assert peer_config(base, peer).model.test_cfg[key] == 90


def test_data_without_a_metric_of_boxes(base):
    base.val_evaluator = base.val_evaluator[:2]
    with pytest.raises(ValueError, match='Mask R-CNN has no panoptic results: expected a metric of boxes'):
        peer_config(base, 'Mask R-CNN')


def test_semantic_model_has_no_peer(project_root):
    cfg = Config.fromfile(project_root / 'configs/maskdino/maskdino_r18_shapes_semantic.py')
    with pytest.raises(ValueError, match='expected a Mask DINO for instances or panoptic data'):
        peer_config(cfg, 'DINO')


@pytest.mark.parametrize(
    ('change', 'peer', 'message'),
    [
        (dict(mask_dims=None), 'Mask2Former', 'has boxes alone: Mask2Former'),
        (dict(mask_dims=None), 'Mask R-CNN', 'has boxes alone: Mask R-CNN'),
        pytest.param(
            dict(denoising=None),
            'DINO',
            'has no denoising',
            marks=pytest.mark.skipif(not HAS_SMALL_DINO, reason='mmdet 3.3 has no DINO of this width'),
        ),
    ],
)
def test_what_a_peer_lacks_is_said(base, change, peer, message):
    base.model.panoptic_head.update(change)
    with pytest.raises(ValueError, match=message):
        peer_config(base, peer)
