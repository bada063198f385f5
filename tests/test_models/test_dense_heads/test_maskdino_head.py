import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch.utils._python_dispatch import TorchDispatchMode

from mmmaskdino.models.dense_heads.maskdino_head import valid_sizes
from mmmaskdino.models.layers import MaskDINOPixelDecoder

CANVAS = (64, 96)
KINDS = [None, 'detection', 'learned softmax']


def make_samples(*sizes):
    return [DetDataSample(metainfo=dict(img_shape=size, batch_input_shape=CANVAS)) for size in sizes]


@pytest.mark.parametrize('kind', KINDS)
def test_prediction_is_the_last_training_stage(make_head, make_features, make_targets, kind):
    head, features = make_head({'denoising': None}, kind).eval(), make_features()
    prediction, mask_features = head(features)
    output = head.forward_train(features, make_targets([2, 1]))
    assert len(output.matching.boxes) == 3 and output.denoising is None and output.groups is None
    assert (output.encoder is None) == (kind == 'learned softmax')
    assert prediction.cls_logits.shape == (2, 12, 6 if kind == 'learned softmax' else 5)
    assert (mask_features is None) == (prediction.mask_embeds is None) == (kind == 'detection')
    for got, expected in zip(prediction, output.matching, strict=True):
        assert got is expected is None or torch.equal(got, expected[-1])


@pytest.mark.parametrize('num_layers', [0, 1, 2])
def test_prediction_of_an_earlier_layer(make_head, make_features, make_targets, num_layers):
    head, features = make_head({'denoising': None, 'num_layers_at_test': num_layers}).eval(), make_features()
    stages = head.forward_train(features, make_targets([2, 1])).matching
    assert all(torch.equal(got, wanted[num_layers]) for got, wanted in zip(head(features)[0], stages, strict=True))


@pytest.mark.parametrize('num_layers', [-1, 3])
def test_layer_that_there_is_not(head_config, num_layers):
    with pytest.raises(ValueError, match=f'num_layers_at_test must be 0 to 2 .*got {num_layers}'):
        MODELS.build(head_config({'num_layers_at_test': num_layers}))


@pytest.mark.parametrize('kind', KINDS)
def test_denoising_does_not_reach_the_matching_queries(make_head, make_features, make_targets, kind):
    head, features, targets = make_head(kind=kind), make_features(), make_targets([3, 1])
    with_denoising = head.forward_train(features, targets)
    head.denoising = None
    without = head.forward_train(features, targets)
    for name in ('cls_logits', 'boxes'):
        got, expected = (getattr(output.matching, name) for output in (with_denoising, without))
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_denoising_stages(make_head, make_features, make_targets):
    targets, features = make_targets([3, 1]), make_features()
    output = make_head().forward_train(features, targets)
    assert output.denoising.boxes.shape == (3, 2, 9, 4) and output.matching.boxes.shape == (3, 2, 12, 4)
    assert output.encoder.boxes.shape == (1, 2, 12, 4)
    assert torch.equal(output.denoising.boxes[0], output.groups.boxes)
    # Learned queries: the denoising queries are not supervised before the first layer.
    output = make_head(kind='learned softmax').forward_train(features, targets)
    assert len(output.denoising.boxes) == 2 and len(output.matching.boxes) == 3


def test_groups_do_not_reach_one_another(make_head, make_features, make_targets):
    """Without noise, each group is the same and must come out the same."""
    head = make_head({'denoising.label_noise': 0.0, 'denoising.box_noise': 0.0})
    output = head.forward_train(make_features(), make_targets([3, 3]))
    for cls_logits in output.denoising.cls_logits:
        groups = cls_logits.unflatten(1, (output.groups.num_groups, 3))
        torch.testing.assert_close(groups, groups[:, :1].expand_as(groups), rtol=1e-4, atol=1e-5)


def test_what_several_parts_need_is_handed_to_them(make_head):
    head = make_head({'num_stuff_classes': 2, 'pixel_decoder.encoder_strides': [4, 8, 16, 32, 64]})
    assert head.num_classes == head.denoising.num_classes == head.heads.classify.out_features == 7
    assert len(head.pixel_decoder.encoder_strides) == head.decoder.layers[0].cross_attention.num_levels == 5
    for layer in (*head.pixel_decoder.layers, *head.decoder.layers):
        attention = layer.self_attention if hasattr(layer.self_attention, 'num_points') else layer.cross_attention
        assert (attention.num_heads, attention.num_points) == (4, 2)
    assert head.use_sigmoid
    assert not make_head(kind='learned softmax').use_sigmoid


def test_class_bias_follows_the_loss(head_config):
    for kind, probability in ((None, 0.01), ('learned softmax', 0.5)):
        head = MODELS.build(head_config(kind=kind))
        head.init_weights()
        bias = head.heads.classify.bias.sigmoid()
        torch.testing.assert_close(bias, torch.full_like(bias, probability))


def test_a_part_can_be_another_class(head_config, make_features):
    @MODELS.register_module(force=True)
    class NarrowPixelDecoder(MaskDINOPixelDecoder):
        """Looks at the coarsest level only."""

        def __init__(self, **kwargs):
            super().__init__(**kwargs, encoder_strides=(32,))

    pixel_decoder = dict(_delete_=True, type='NarrowPixelDecoder', num_layers=1, ffn_dim=48)
    cfg = head_config({'pixel_decoder': pixel_decoder, 'query_init.proposal_sizes': [0.2]})
    prediction, _ = MODELS.build(cfg)(make_features())
    assert prediction.boxes.shape == (2, 6, 4)  # a 2 x 3 map has 6 tokens


def test_padding_is_found_in_the_samples():
    assert valid_sizes(make_samples((64, 96), (64, 96))) is None
    assert valid_sizes(make_samples((64, 96), (48, 24))) == [(1, 1), (0.75, 0.25)]


def test_mask_padding(make_head, make_features):
    head, features = make_head({'mask_padding': True}).eval(), make_features()
    padded = valid_sizes(make_samples(CANVAS, (32, 48)))
    plain, masked = head(features)[0], head(features, padded)[0]
    torch.testing.assert_close(plain.boxes[0], masked.boxes[0])  # of the image that fills the canvas
    assert not torch.allclose(plain.boxes[1], masked.boxes[1], atol=1e-3)
    head.mask_padding = False
    for got, expected in zip(head(features, padded)[0], plain, strict=True):
        assert torch.equal(got, expected)


def test_selected_queries_lie_in_the_image(make_head, make_features):
    head = make_head({'query_init.num_queries': 20}).eval()
    with torch.no_grad():
        head.heads.locate.layers[-1].weight.zero_()
        head.heads.locate.layers[-1].bias.zero_()
    start = head._start(make_features(), [(1, 1), (0.5, 0.5)])[2]
    centers = start.boxes[..., :2]
    assert (centers[1] <= 0.5).all()
    assert (centers[0] > 0.5).any()


def test_attention_masks_follow_the_targets(make_head, make_features, make_targets):
    """The loss of one image does not depend on the objects of another, but for the normaliser and denoising."""
    head = make_head({'denoising': None})
    features, (first, second) = make_features(), make_targets([3, 2])
    points = torch.rand(1, 64, 2)
    sampler = head.criterion.point_sampler
    sampler.draw = lambda bs, device: points.expand(bs, -1, -1)
    sampler.select = lambda logits, first: torch.arange(logits.shape[1]).expand(len(logits), -1)
    (empty,) = make_targets([0])

    def total(targets, images):
        output = head.forward_train([f[images] for f in features], targets)
        losses = head.criterion(output, targets)
        return sum(losses.values()) * max(1, sum(len(t.labels) for t in targets))

    together = total([first, second], [0, 1])
    torch.testing.assert_close(together, total([first], [0]) + total([second], [1]), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(
        total([first, empty], [0, 1]), total([first], [0]) + total([empty], [1]), rtol=1e-4, atol=1e-3
    )


class RecordWaits(TorchDispatchMode):
    """Names of the operations that read a value from the device, or whose result's size does."""

    reading = {'_local_scalar_dense', 'is_nonzero', 'equal', 'nonzero', 'masked_select', '_unique2', 'unique_dim'}

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        indices = args[1] if name.startswith('index') and isinstance(args[1], (list, tuple)) else ()
        by_mask = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)
        if name in self.reading or by_mask:
            self.found.append(name)
        # Not func itself: older versions of torch hand a number to the overload for tensors.
        return func.overloadpacket(*args, **(kwargs or {}))


@pytest.mark.parametrize('kind', KINDS)
def test_training_waits_for_the_device_only_to_match(make_head, make_features, make_targets, kind):
    head = make_head({'num_stuff_classes': 3}, kind)
    targets, features = make_targets([3, 1], stuff=[2, 0], num_stuff=3), make_features()
    if head.use_sigmoid:  # mmdet's focal loss has another path on a GPU
        head.criterion.loss_cls.forward = lambda cls_logits, labels, num_objects: cls_logits.mean((1, 2, 3))
    with RecordWaits() as waits:
        sum(head.criterion(head.forward_train(features, targets), targets).values()).backward()
    # The one value read is whether all costs are finite, from their copy on the CPU.
    assert waits.found == ['_local_scalar_dense']


@pytest.mark.parametrize(
    ('changes', 'kind', 'message'),
    [
        ({'mask_dims': None}, None, 'got mask_dims=None, a mask loss'),
        ({'mask_dims': 16}, 'detection', 'got mask_dims=16, no mask loss'),
        ({'query_init.initial_boxes': 'tight'}, 'detection', "initial_boxes='predicted', got 'tight'"),
    ],
)
def test_masks_in_one_part_and_not_in_another_are_rejected(head_config, changes, kind, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(head_config(changes, kind))


@pytest.mark.parametrize('part', ['', 'pixel_decoder.', 'query_init.', 'decoder.', 'denoising.', 'criterion.'])
def test_unknown_key_is_rejected(head_config, part):
    with pytest.raises(TypeError, match='no_such_key'):
        MODELS.build(head_config({f'{part}no_such_key': 1}))


@pytest.mark.parametrize('kind', KINDS)
def test_building_leaves_the_config_alone(head_config, kind):
    cfg = head_config(kind=kind)
    before = copy.deepcopy(cfg.to_dict())
    first, second = MODELS.build(cfg), MODELS.build(cfg)
    assert cfg.to_dict() == before
    assert [p.shape for p in first.parameters()] == [p.shape for p in second.parameters()]


def test_builds_from_plain_dicts(head_config):
    assert MODELS.build(head_config().to_dict()).num_classes == 5


@pytest.mark.parametrize('key', ['decoder.num_heads', 'pixel_decoder.dim', 'denoising.num_classes', 'query_init.dim'])
def test_shared_values_are_set_once(make_head, key):
    part, name = key.split('.')
    with pytest.raises(ValueError, match=rf'{part} must not set .*{name}.*panoptic_head'):
        make_head({key: 8})


def test_box_prior_reaches_every_stage_and_all_that_reads_masks(make_head, make_features, make_targets):
    """Masks of all stages gain the same five channels, the loss reads them, and boxes learn nothing from masks."""
    head = make_head({'box_prior': dict(type='BoxPrior'), 'query_init.initial_boxes': 'cut'})
    features, targets = make_features(), make_targets([3, 1])
    output = head.forward_train(features, targets)
    channels = {x.shape[-1] for x in (s.mask_embeds for s in (output.encoder, output.matching, output.denoising))}
    assert channels == {21} and output.mask_features.shape[1] == 21
    losses = head.criterion(output, targets)
    sum(loss for name, loss in losses.items() if name.endswith(('loss_mask', 'loss_dice'))).backward()
    assert head.heads.box_prior.weigh.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in head.heads.locate.layers[-1].parameters())


def test_box_prior_needs_masks_and_known_keys(head_config):
    with pytest.raises(ValueError, match='has no use for panoptic_head.box_prior'):
        MODELS.build(head_config({'box_prior': dict(type='BoxPrior')}, 'detection'))
    with pytest.raises(TypeError, match='sharpness'):
        MODELS.build(head_config({'box_prior': dict(type='BoxPrior', sharpness=2)}))
    with pytest.raises(ValueError, match='box_prior must not set'):
        MODELS.build(head_config({'box_prior': dict(type='BoxPrior', dim=8)}))
    with pytest.raises(TypeError, match='box_points'):
        MODELS.build(head_config({'criterion.box_points': 0.5}))
