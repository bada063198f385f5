import copy
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS

CONFIGS = Path(__file__).parents[3] / 'configs' / 'maskdino'
# Siblings that differ in the schedule only (see tests/test_configs.py) are left out.
FAMILIES = sorted(path.stem for path in CONFIGS.glob('*.py') if not path.stem.endswith(('_12e', '_24e', '_semantic')))


@pytest.fixture
def small_model(small_config, make_model):
    """A shipped model, small, by the config's name; with learned queries and softmax classes if asked for."""

    def make(name, **changes):
        cfg = small_config(name)
        cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
        return make_model(cfg)

    return make


@pytest.fixture
def data_for(make_batch):
    """A batch with the classes and the kind of ground truth that a model needs."""

    def make(model, counts, sizes=None, training=True):
        head = model.panoptic_head
        batch = make_batch(counts, sizes, head.num_things_classes, head.num_stuff_classes, head.with_masks)
        return model.data_preprocessor(batch, training=training)

    return make


def learned_softmax():
    """Changes to `small_model`."""
    return {
        'panoptic_head.query_init': dict(_delete_=True, type='LearnedQueries', num_queries=12),
        'panoptic_head.criterion.loss_cls': dict(_delete_=True, type='QueryCrossEntropyLoss', loss_weight=4.0),
    }


def train_step(model, data):
    """Gradients of one step, by name, of all parameters that are trained."""
    model.train()
    losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    assert total.isfinite()
    total.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize('counts', [[3, 1], [2, 0], [0, 0]], ids=['objects', 'an image without', 'no objects'])
@pytest.mark.parametrize('name', FAMILIES)
def test_every_parameter_of_every_config_gets_a_gradient(small_model, data_for, name, counts):
    model = small_model(name)
    grads = train_step(model, data_for(model, counts))
    assert [n for n, grad in grads.items() if grad is None or not grad.isfinite().all()] == []
    if all(counts):
        assert [n for n, grad in grads.items() if not grad.any()] == []
    frozen = {n.rsplit('.', 1)[0] for n, p in model.named_parameters() if not p.requires_grad}
    assert all(isinstance(model.get_submodule(n), torch.nn.BatchNorm2d) for n in frozen)


@pytest.mark.parametrize('counts', [[3, 1], [0, 0]])
def test_learned_queries_with_softmax_classes(small_model, data_for, counts):
    model = small_model('maskdino_r50_coco_instance', **learned_softmax())
    grads = train_step(model, data_for(model, counts))
    assert [n for n, grad in grads.items() if grad is None or not grad.isfinite().all()] == []
    (sample, _) = model.eval().predict(*data_for(model, [0, 0], training=False).values())
    assert sample.pred_instances.scores.isfinite().all() and (sample.pred_instances.labels < 80).all()


@pytest.mark.parametrize('name', FAMILIES)
def test_predictions(small_model, data_for, name):
    model = small_model(name).eval()
    data = data_for(model, [0, 0], sizes=[(64, 96), (50, 60)], training=False)
    data['data_samples'][1].set_metainfo(dict(ori_shape=(25, 30), scale_factor=(2.0, 2.0)))
    with torch.no_grad():
        samples = model(**data, mode='predict')
    for sample, size in zip(samples, [(64, 96), (25, 30)], strict=True):
        found = sample.pred_instances
        assert len(found) > 0 and found.bboxes.isfinite().all()
        assert ((found.scores >= 0) & (found.scores <= 1)).all() and (found.scores.diff() <= 0).all()
        assert (found.labels < model.panoptic_head.num_things_classes).all()
        if model.panoptic_head.with_masks:
            assert found.masks.shape == (len(found), *size) and found.masks.dtype == torch.bool
        if model.panoptic_head.num_stuff_classes:
            labels = sample.pred_panoptic_seg.sem_seg % 1000
            assert labels.shape == (1, *size) and labels.max() <= model.panoptic_head.num_classes


def test_raw_predictions_and_results_in_the_size_of_the_input(small_model, data_for):
    model = small_model('maskdino_r50_coco_instance').eval()
    data = data_for(model, [0], sizes=[(50, 90)], training=False)
    data['data_samples'][0].set_metainfo(dict(ori_shape=(25, 45), scale_factor=(2.0, 2.0)))
    with torch.no_grad():
        prediction, mask_features = model(**data, mode='tensor')
        (sample,) = model.predict(data['inputs'], data['data_samples'], rescale=False)
    assert prediction.boxes.shape == (1, 20, 4) and mask_features.shape == (1, 32, 16, 24)
    assert sample.pred_instances.masks.shape[1:] == (50, 90)


@pytest.fixture
def mixed_batch(small_model, data_for):
    """A model and a batch of images of several sizes on one canvas, one of which fills it."""
    model = small_model('maskdino_r50_coco_panoptic').eval()
    return model, data_for(model, [0, 0, 0], sizes=[(64, 96), (40, 96), (50, 51)], training=False)


@torch.no_grad()
def test_an_image_has_the_same_result_alone(mixed_batch):
    model, data = mixed_batch
    together, features = model(**copy.deepcopy(data), mode='tensor')
    results = model(**copy.deepcopy(data), mode='predict')
    for i in range(3):
        one = dict(inputs=data['inputs'][i : i + 1], data_samples=copy.deepcopy(data['data_samples'][i : i + 1]))
        alone, its_features = model(**one, mode='tensor')
        for got, expected in zip((*together, features), (*alone, its_features), strict=True):
            torch.testing.assert_close(got[i], expected[0], rtol=1e-4, atol=1e-4)
        (result,) = model(**one, mode='predict')
        torch.testing.assert_close(result.pred_instances.scores, results[i].pred_instances.scores, rtol=0, atol=1e-4)
        differing = result.pred_panoptic_seg.sem_seg != results[i].pred_panoptic_seg.sem_seg
        assert differing.float().mean() < 1e-3


@torch.no_grad()
def test_padding_is_seen_only_if_it_is_not_masked(mixed_batch):
    model, data = mixed_batch
    masked = model(**data, mode='tensor')[0]
    model.panoptic_head.mask_padding = False
    seen = model(**data, mode='tensor')[0]
    torch.testing.assert_close(masked.boxes[0], seen.boxes[0])
    assert not torch.allclose(masked.boxes[1], seen.boxes[1], atol=1e-3)
    assert not torch.allclose(masked.boxes[2], seen.boxes[2], atol=1e-3)


@pytest.mark.parametrize(
    'key',
    ['', 'panoptic_head.', 'panoptic_head.decoder.', 'panoptic_fusion_head.', 'panoptic_head.criterion.assigner.'],
)
def test_unknown_key_is_rejected(small_config, key):
    cfg = small_config('maskdino_r50_coco_instance')
    cfg.merge_from_dict({f'model.{key}no_such_key': 1})
    with pytest.raises(TypeError, match='no_such_key'):
        MODELS.build(cfg.model)


def test_unknown_test_option_is_rejected(small_config):
    cfg = small_config('maskdino_r50_coco_instance')
    cfg.model.test_cfg.max_per_img = 5
    with pytest.raises(ValueError, match='max_per_img'):
        MODELS.build(cfg.model)


@pytest.mark.parametrize('name', FAMILIES)
def test_building_leaves_the_config_alone(small_config, name):
    cfg = small_config(name)
    before = copy.deepcopy(cfg.to_dict())
    first, second = MODELS.build(cfg.model), MODELS.build(cfg.model)
    assert cfg.to_dict() == before
    assert list(first.state_dict()) == list(second.state_dict())


def test_neck_between_backbone_and_head(small_model, data_for):
    neck = dict(type='ChannelMapper', in_channels=[32, 64, 128, 256], kernel_size=1, out_channels=24, num_outs=4)
    changes = {'neck': neck, 'panoptic_head.in_channels': [24] * 4}
    model = small_model('maskdino_r50_coco_instance', **changes)
    assert [f.shape[1] for f in model.extract_feat(torch.zeros(1, 3, 64, 96))] == [24] * 4
    grads = train_step(model, data_for(model, [2, 1]))
    assert grads['neck.convs.0.conv.weight'].any()


def test_maps_that_do_not_fit_name_the_key(small_model):
    model = small_model('maskdino_r50_coco_instance', **{'backbone.out_indices': (1, 2, 3)})
    with pytest.raises(ValueError, match=r"\(32, 16, 24\), .* got \[\(64, 8, 12\).*backbone's out_indices"):
        model(torch.zeros(1, 3, 64, 96), mode='tensor')


def test_losses_go_down(small_model, data_for):
    """A few steps on one batch: the losses and their gradients point the same way."""
    model = small_model('maskdino_r50_coco_panoptic')
    data = data_for(model, [3, 2])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    totals = []
    for _ in range(20):
        optimizer.zero_grad()
        total, _ = model.parse_losses(model(**copy.deepcopy(data), mode='loss'))
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.8 * totals[0]
