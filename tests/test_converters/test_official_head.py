import json
import re

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmmaskdino.converters import convert_head, convert_model, convert_resnet

RELEASED = {
    'coco_instance_r50_4s_2048': 'maskdino_r50_coco_instance',
    'coco_instance_r50_hid1024_3s': 'maskdino_r50-3level_coco_instance',
    'coco_panoptic_r50_2048': 'maskdino_r50_coco_panoptic',
}
ALL_ALIASES = (
    'predictor.bbox_embed.2.layers.1.weight',
    'predictor.decoder.bbox_embed.0.layers.1.weight',
    'predictor._bbox_embed.layers.1.weight',
)


@pytest.fixture
def build_config(project_root, mmdet_scope):
    """The model of a shipped config, without memory for its weights."""

    def build(name):
        cfg = Config.fromfile(project_root / 'configs' / 'maskdino' / f'{name}.py')
        with torch.device('meta'):
            return MODELS.build(cfg.model)

    return build


@pytest.fixture
def release(shared_golden):
    """State dict of a released model: its names and shapes; tensors of one name are one tensor."""

    def load(name):
        shapes = json.loads((shared_golden / 'keys' / f'{name}.json').read_text())['state_dict']
        with torch.device('meta'):
            return {key: torch.empty(shape) for key, shape in shapes.items()}

    return load


@pytest.fixture
def golden_head(shared_golden):
    """State dict of a recorded head, without or with the second names of its tensors."""

    def load(name, aliases=False):
        stored = np.load(shared_golden / 'weights' / f'{name}.npz')
        weights = {key: torch.from_numpy(stored[key]) for key in stored.files if key != '__aliases__'}
        if aliases:
            weights |= {pair.split('=')[0]: weights[pair.split('=')[1]] for pair in map(str, stored['__aliases__'])}
        return weights

    return load


@pytest.mark.parametrize(('released', 'config'), RELEASED.items())
def test_every_released_name_and_shape(build_config, release, released, config, monkeypatch):
    # Tensors without memory hold nothing that could differ.
    monkeypatch.setattr(torch, 'equal', lambda a, b: a.shape == b.shape)
    converted = {name: tensor.shape for name, tensor in convert_model(release(released)).items()}
    wanted = {n: t.shape for n, t in build_config(config).state_dict().items() if 'num_batches_tracked' not in n}
    assert converted == wanted


@pytest.mark.parametrize('name', ['ade20k_semantic_r50', 'cityscapes_semantic_r50'])
def test_names_of_the_semantic_models(release, name, monkeypatch):
    monkeypatch.setattr(torch, 'equal', lambda a, b: a.shape == b.shape)
    official = {key: tensor for key, tensor in release(name).items() if not key.endswith('num_batches_tracked')}
    converted = convert_model(official)
    assert converted['panoptic_head.query_init.content.weight'].shape == (100, 256)
    assert converted['panoptic_head.query_init.box_logits.weight'].shape == (100, 4)
    assert not any('embed.0' in key or 'predictor' in key for key in converted)


@pytest.mark.parametrize('weights', ['inst4', 'inst5', 'inst3', 'sem3', 'pano4'])
def test_second_names_change_nothing(golden_head, weights):
    plain, aliased = golden_head(weights), golden_head(weights, aliases=True)
    assert len(aliased) > len(plain)
    first, second = convert_head(plain), convert_head(aliased)
    assert set(first) == set(second) and len(first) == len(plain)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(('weights', 'coarsest_first'), [('inst4', False), ('inst5', False), ('inst3', True)])
def test_levels_end_up_finest_first(golden_head, weights, coarsest_first):
    """Encoder and decoder order their levels oppositely: one of the two is turned round, and nothing else changes."""
    official = golden_head(weights)
    converted = convert_head(official)
    embedding = official['pixel_decoder.transformer.level_embed']
    num_levels = len(embedding)
    wanted = embedding.flip(0) if coarsest_first else embedding
    assert torch.equal(converted['pixel_decoder.level_embedding'], wanted)
    layers = {
        'pixel_decoder.transformer.encoder.layers.1.self_attn.': 'pixel_decoder.layers.1.self_attention.',
        'predictor.decoder.layers.2.cross_attn.': 'decoder.layers.2.cross_attention.',
    }
    for theirs, ours in layers.items():
        for part, last in (('sampling_offsets', 8), ('attention_weights', 4)):
            for kind in ('weight', 'bias'):
                before = official[f'{theirs}{part}.{kind}'].unflatten(0, (8, num_levels, last))
                after = converted[f'{ours}{part}.{kind}'].unflatten(0, (8, num_levels, last))
                turned = coarsest_first == theirs.startswith('pixel')
                assert torch.equal(after, before.flip(1) if turned else before)


def test_projections_follow_the_channels(golden_head):
    names = [f'pixel_decoder.input_projections.{i}.conv.weight' for i in range(4)]
    for weights in ('inst4', 'inst3'):
        converted = convert_head(golden_head(weights))
        channels = [converted[name].shape[1] for name in names if name in converted]
        assert channels[:3] == [24, 32, 40] and channels[3:] in ([], [40])


def test_norms_of_the_decoder_follow_their_attention(golden_head):
    """The official cross-attention is followed by norm1, although it comes second."""
    official = golden_head('inst4')
    converted = convert_head(official)
    for theirs, ours in ((1, 2), (2, 1), (3, 3)):
        got = converted[f'decoder.layers.1.norm{ours}.weight']
        assert torch.equal(got, official[f'predictor.decoder.layers.1.norm{theirs}.weight'])


@pytest.mark.parametrize(
    'name', ['predictor.unknown.weight', 'pixel_decoder.fpn.weight', 'predictor.decoder.unknown', 'heads.norm.weight']
)
def test_unknown_name_of_the_head_is_refused(golden_head, name):
    with pytest.raises(ValueError, match=f'^{re.escape(name)} is no parameter of an official Mask DINO head'):
        convert_head(golden_head('inst4') | {name: torch.zeros(1)})


def test_unknown_names_of_the_model_are_refused(golden_head):
    head = {f'sem_seg_head.{key}': value for key, value in golden_head('inst4').items()}
    with pytest.raises(ValueError, match='^optimizer.step is no parameter of an official Mask DINO: expected'):
        convert_model(head | {'optimizer.step': torch.zeros(1)})
    with pytest.raises(ValueError, match='^patch_embed.proj.weight is no parameter of a detectron2 ResNet'):
        convert_model(head | {'backbone.patch_embed.proj.weight': torch.zeros(1)})
    assert 'panoptic_head.heads.norm.bias' in convert_model(head | {'criterion.empty_weight': torch.zeros(8)})


@pytest.mark.parametrize('changed', ALL_ALIASES)
def test_names_of_one_tensor_that_disagree_are_refused(golden_head, changed):
    official = golden_head('inst4', aliases=True)
    official[changed] = official[changed] + 1
    with pytest.raises(ValueError, match=r'bbox_embed.*layers\.1\.weight are one tensor.* but hold different values'):
        convert_head(official)


def test_arguments_are_not_changed(golden_head):
    official = golden_head('inst3')
    before = {key: value.clone() for key, value in official.items()}
    for tensor in convert_head(official).values():
        assert tensor.isfinite().all()
    assert set(official) == set(before) and all(torch.equal(official[key], before[key]) for key in before)


def test_names_of_the_resnet():
    names = {
        'stem.conv1.weight': 'conv1.weight',
        'stem.conv1.norm.running_var': 'bn1.running_var',
        'res2.0.shortcut.weight': 'layer1.0.downsample.0.weight',
        'res2.0.shortcut.norm.bias': 'layer1.0.downsample.1.bias',
        'res5.2.conv3.norm.running_mean': 'layer4.2.bn3.running_mean',
        'res4.5.conv2.weight': 'layer3.5.conv2.weight',
    }
    assert list(convert_resnet(dict.fromkeys(names, torch.zeros(1)))) == list(names.values())
