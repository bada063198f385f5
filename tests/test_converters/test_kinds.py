"""Kinds are told apart, and backbones alone become sources for `init_cfg`."""

import json

import pytest
import torch
from mmdet.models import ResNet

from mmmaskdino.converters import KINDS, convert, detect_kind, restore_resnet
from mmmaskdino.converters.kinds import coarsest_first


@pytest.fixture
def swin_classifier(recorded, make_random):
    """A Swin-L of its authors: with a classifier, without norms of the four outputs."""
    shapes = recorded('coco_instance_swinl_maskenhanced')['state_dict']
    names = {key.removeprefix('backbone.'): key for key in shapes if key.startswith('backbone.')}
    state = {name: make_random(shapes[key]) for name, key in names.items() if not name.startswith('norm')}
    classifier = {'norm.weight': [1536], 'norm.bias': [1536], 'head.weight': [21841, 1536], 'head.bias': [21841]}
    return state | {name: make_random(shape) for name, shape in classifier.items()}


@pytest.fixture
def resnet(make_random):
    """A ResNet-50 of torchvision, without classifier."""
    with torch.device('meta'):
        model = ResNet(50)
    return {name: make_random(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize('kind', ['torchvision', 'detectron2-resnet', 'mask2former'])
def test_resnet_as_backbone(resnet, load_target, kind):
    source = dict(resnet, **{'fc.weight': torch.zeros(1000, 2048)})
    if kind != 'torchvision':
        source = restore_resnet(resnet).tensors
    if kind == 'mask2former':
        source = {f'backbone.{name}': tensor for name, tensor in source.items()}
        source['sem_seg_head.predictor.transformer_cross_attention_layers.0.norm.weight'] = torch.zeros(256)
    result = convert(source, load_target('maskdino_r50_coco_instance'))
    assert result.kind == kind and not result.random
    assert set(result.conversion.tensors) == set(resnet)
    assert all(torch.equal(result.conversion.tensors[name], tensor) for name, tensor in resnet.items())
    assert len(result.conversion.dropped) == len(source) - len(resnet)


def test_swin_as_backbone(swin_classifier, load_target):
    result = convert(swin_classifier, load_target('maskdino_swin-l_coco_instance'))
    assert result.kind == 'swin'
    assert set(result.random) == {f'norm{i}.{kind}' for i in range(4) for kind in ('weight', 'bias')}
    assert set(result.conversion.dropped) == {'norm.weight', 'norm.bias', 'head.weight', 'head.bias'}


def test_backbone_of_another_model_is_rejected(resnet, load_target):
    with pytest.raises(ValueError, match='stages.0.*: missing'):
        convert(resnet, load_target('maskdino_swin-l_coco_instance'))


def test_each_marker_belongs_to_one_kind(release, resnet, swin_classifier):
    names = list(release('coco_instance_swinl_maskenhanced'))
    assert detect_kind(names) == 'maskdino'
    assert detect_kind(list(resnet)) == 'torchvision'
    assert detect_kind(list(swin_classifier)) == 'swin'
    assert detect_kind(['decode_head.heads.classify.weight']) == 'mmmaskdino'
    with pytest.raises(ValueError, match=r"no known kind.*\['a', 'b'\][\s\S]*maskdino[\s\S]*swin"):
        detect_kind(['b', 'a'])


@pytest.mark.parametrize('kind', sorted(KINDS.keys() - {'maskdino', 'mask2former'}))
def test_wrong_kind_is_rejected(release, load_target, kind):
    with pytest.raises(ValueError):
        convert(release('coco_instance_r50_4s_2048'), load_target('maskdino_r50_coco_instance'), kind)


def test_release_of_another_config_is_rejected(release, load_target):
    with pytest.raises(ValueError, match=r'heads.classify.weight: expected shape \(80, 256\), got \(133, 256\)'):
        convert(release('coco_panoptic_r50_2048'), load_target('maskdino_r50_coco_instance'))


@pytest.mark.parametrize(
    ('config', 'order'),
    [
        ('maskdino_r50_coco_instance', False),
        ('maskdino_r50-3level_coco_instance', True),
        ('maskdino_swin-l_coco_panoptic', False),
        ('maskdino_r50_ade20k_semantic', True),
    ],
)
def test_level_order_of_the_way_back(load_target, config, order):
    assert coarsest_first(load_target(config)) is order


def test_what_the_official_code_cannot_have(load_config, release, load_target):
    target = load_target('maskdino_r50_coco_instance')
    ours = convert(release('coco_instance_r50_4s_2048'), target).conversion.tensors
    target.head.query_init.proposal_sizes = [0.1, 0.1, 0.1, 0.1]
    with pytest.raises(ValueError, match=r'query_init.proposal_sizes=\[0.1, 0.1, 0.1, 0.1\]'):
        convert(ours, target)
    target.head.num_heads = 4
    with pytest.raises(ValueError, match='always has 8 attention heads, the config has 4'):
        convert(ours, target)


def test_class_names_are_plain_data(load_target):
    panoptic = load_target('maskdino_r50_coco_panoptic').dataset_meta
    assert panoptic['classes'] == panoptic['thing_classes'] + panoptic['stuff_classes']
    assert json.loads(json.dumps(panoptic)) == panoptic
    assert len(load_target('maskdino_r50_ade20k_semantic').dataset_meta['classes']) == 150
    shapes = load_target('maskdino_r18_shapes_detection').dataset_meta
    assert shapes['classes'][0] == 'circle' and len(shapes['classes']) == 6
