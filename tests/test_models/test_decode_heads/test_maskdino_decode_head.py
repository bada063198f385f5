from pathlib import Path

import pytest
import torch
from mmdet.models.losses import DiceLoss as MMDetDiceLoss
from mmengine.registry import DefaultScope
from mmseg.models.losses import DiceLoss as MMSegDiceLoss
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmmaskdino.models.decode_heads import MaskDINODecodeHead

CANVAS = (64, 96)
CONFIGS = Path(__file__).parents[3] / 'configs' / 'maskdino'
FAMILIES = sorted(path.stem for path in CONFIGS.glob('*_semantic.py'))


@pytest.fixture
def cfg(small_config):
    return small_config('maskdino_r50_ade20k_semantic')


@pytest.fixture
def model(cfg, make_model):
    return make_model(cfg)


@pytest.fixture
def train_batch(model, make_seg_batch):
    batch = make_seg_batch([(64, 64), (48, 96)])
    model.data_preprocessor.size = CANVAS
    return model.data_preprocessor(batch, training=True)


def total(losses):
    return sum(losses.values())


def test_losses_are_named(model, train_batch):
    losses = model.loss(**train_batch)
    assert {'decode.loss_cls', 'decode.d0.loss_mask', 'decode.d1.dn_loss_dice', 'decode.loss_bbox'} <= set(losses)
    assert not any('enc_' in name or name == 'decode.d0.dn_loss_cls' for name in losses)


@pytest.mark.parametrize('labelled', [True, False])
@pytest.mark.parametrize('name', FAMILIES)
def test_every_parameter_of_every_config_gets_a_gradient(small_config, make_model, make_seg_batch, name, labelled):
    """Of images without any label too."""
    model = make_model(small_config(name))
    model.data_preprocessor.size, model.data_preprocessor.size_divisor = CANVAS, None
    batch = model.data_preprocessor(make_seg_batch([(64, 64), (48, 96)], model.num_classes), training=True)
    if not labelled:
        for sample in batch['data_samples']:
            sample.gt_sem_seg.data.fill_(255)
    total(model.loss(**batch)).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ('query_init', 'options', 'found'),
    [
        (dict(type='EncoderQuerySelection'), dict(one_to_many=dict(type='OneToManyGroup', num_queries=30)), 'd0.many_'),
        (dict(type='DeImbalancedQuerySelection', num_candidates=40, ffn_dim=48), {}, 'enc2_'),
    ],
)
def test_options_of_the_head(cfg, make_model, train_batch, query_init, options, found):
    """Those that start from tokens of the encoder, with a softmax over classes and stuff alone."""
    cfg.model.decode_head.update(
        query_init=query_init | dict(num_queries=20, proposal_sizes=[0.1, 0.2, 0.4]), **options
    )
    model = make_model(cfg)
    losses = model.loss(**train_batch)
    total(losses).backward()
    assert f'decode.{found}loss_cls' in losses and total(losses).isfinite()
    assert all(p.grad is not None for p in model.decode_head.parameters())


def test_targets(model, train_batch):
    first, second = model.decode_head.targets(train_batch['data_samples'], torch.device('cpu'))
    labels = train_batch['data_samples'][0].gt_sem_seg.data[0]
    assert first.labels.tolist() == sorted(set(labels.unique().tolist()) - {255})
    for label, mask in zip(first.labels, first.masks, strict=True):
        assert torch.equal(mask, labels == label)
    assert torch.equal(first.ignored, labels == 255)
    assert first.ignored[:, 64:].all() and second.ignored[48:].all()  # the padding
    assert first.boxes[:, 1].tolist() == pytest.approx([40 / 64] * len(first.boxes))


def test_no_point_lies_where_nothing_is_labelled(model, train_batch):
    head, samples = model.decode_head, train_batch['data_samples']
    targets = head.targets(samples, torch.device('cpu'))
    _, masks, _ = head.criterion.point_sampler.sample(torch.zeros(2, 1, 16, 24), targets)
    for image in masks:
        # In labelled area every point belongs to some class, but for what fades at the border of the image.
        assert image.sum(0).max() <= 1 + 1e-5 and (image.sum(0) > 0.99).float().mean() > 0.9


def test_unprefixed_parts_are_those_of_mmdet(cfg):
    cfg.model.decode_head.criterion.loss_dice = dict(type='DiceLoss', naive_dice=True, eps=1.0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        head = MODELS.build(cfg.model).decode_head
    assert isinstance(head, MaskDINODecodeHead)
    assert isinstance(head.criterion.loss_dice, MMDetDiceLoss) and not isinstance(
        head.criterion.loss_dice, MMSegDiceLoss
    )
    assert type(head.criterion.assigner).__module__.startswith('mmmaskdino')


def test_class_maps_are_those_of_the_definition(model):
    head = model.eval().decode_head
    features = model.extract_feat(torch.randn(2, 3, *CANVAS))
    prediction, mask_features = head(features)
    with torch.no_grad():
        maps = head.predict(features, [dict(pad_shape=CANVAS)] * 2)
    masks = torch.einsum('bqc,bchw->bqhw', prediction.mask_embeds, mask_features)
    masks = torch.nn.functional.interpolate(masks, size=CANVAS, mode='bilinear').sigmoid()
    expected = torch.einsum('bqc,bqhw->bchw', prediction.cls_logits.softmax(-1)[..., :-1], masks)
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_plain_encoder_decoder_of_mmseg(cfg, make_model, make_seg_batch, mode):
    cfg.model.type = 'EncoderDecoder'
    if mode == 'slide':
        cfg.model.test_cfg = dict(mode='slide', crop_size=(32, 64), stride=(16, 32))
    model = make_model(cfg).eval()
    with torch.no_grad():
        results = model.test_step(make_seg_batch([CANVAS, CANVAS]))
    assert [tuple(r.pred_sem_seg.data.shape) for r in results] == [(1, *CANVAS)] * 2
    assert [tuple(r.seg_logits.data.shape) for r in results] == [(150, *CANVAS)] * 2


def test_missing_labels_are_named(model):
    sample = SegDataSample(metainfo=dict(img_path='a.jpg', img_shape=CANVAS))
    with pytest.raises(ValueError, match='a.jpg has no gt_sem_seg: put LoadAnnotations'):
        model.decode_head.targets([sample], torch.device('cpu'))


def test_unknown_input_size_is_rejected(model):
    features = model.extract_feat(torch.randn(1, 3, *CANVAS))
    with pytest.raises(ValueError, match=r'\(16, 24\), a quarter of neither pad_shape \(10, 10\)'):
        model.decode_head.predict(features, [dict(pad_shape=(10, 10))])


@pytest.mark.parametrize('key', ['no_such_key', 'num_things_classes'])
def test_unknown_key_is_rejected(cfg, make_model, key):
    cfg.model.decode_head[key] = 1
    with pytest.raises(TypeError, match=key):
        make_model(cfg)


def test_masks_are_needed(cfg, make_model):
    head = cfg.model.decode_head
    head.mask_dims = None
    head.criterion.update(loss_mask=None, loss_dice=None)
    head.criterion.assigner.match_costs = head.criterion.assigner.match_costs[:3]
    with pytest.raises(ValueError, match='decode_head.mask_dims'):
        make_model(cfg)
