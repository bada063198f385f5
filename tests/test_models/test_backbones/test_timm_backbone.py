"""timm models as backbones; no weights are fetched."""

import pytest
import timm
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from torch import nn

from mmmaskdino.models.backbones import TimmBackbone

SMALL_SWIN = dict(embed_dim=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), drop_path_rate=0.0, strict_img_size=False)
SMALL_VIT = dict(depth=2, embed_dim=32, num_heads=2, dynamic_img_size=True)
FAMILIES = {
    'resnet18': dict(),
    'convnext_atto': dict(),
    'swin_tiny_patch4_window7_224': SMALL_SWIN,
    'mobilenetv3_small_050': dict(),
}
PLAIN = {
    'vit_tiny_patch16_224': SMALL_VIT,
    'vit_small_patch14_dinov2': dict(SMALL_VIT, patch_size=16),
}


def check(model, strides):
    """Shapes as the model announces them, finite values, a gradient for every parameter."""
    maps = model(torch.randn(2, 3, 64, 96))
    channels = model.out_channels
    assert [m.shape for m in maps] == [(2, c, 64 // s, 96 // s) for c, s in zip(channels, strides, strict=True)]
    assert all(m.isfinite().all() for m in maps)
    sum(m.square().sum() for m in maps).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(('name', 'options'), FAMILIES.items())
def test_maps_at_four_strides(name, options):
    check(TimmBackbone(name, options=options), (4, 8, 16, 32))


@pytest.mark.parametrize(('name', 'options'), PLAIN.items())
def test_last_map_of_a_plain_vision_transformer(name, options):
    model = TimmBackbone(name, out_strides=[16], options=options)
    assert model.out_indices == (1,)
    check(model, (16,))


def test_strides_are_chosen_not_places():
    """The first map of a ResNet has stride 2, that of a ConvNeXt stride 4."""
    assert TimmBackbone('resnet18', out_strides=(8, 32)).out_indices == (2, 4)
    assert TimmBackbone('convnext_atto', out_strides=(8, 32)).out_indices == (1, 3)


def test_values_of_a_channels_last_model():
    """A map as high as it has channels: only the model knows which axis is which."""
    model = TimmBackbone('swin_tiny_patch4_window7_224', options=SMALL_SWIN).eval()
    assert model.channels_last
    images = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        ours, theirs = model(images)[0], model.model(images)[0]
    assert ours.shape == (1, 24, 24, 16) and theirs.shape == (1, 24, 16, 24)
    torch.testing.assert_close(ours[0, 5, 7, 9], theirs[0, 7, 9, 5], rtol=0, atol=0)


@pytest.mark.parametrize(('scope', 'prefix'), [('mmdet', ''), ('mmseg', ''), ('mmseg', 'mmdet.')])
def test_found_in_runs_of_mmdet_and_mmseg(scope, prefix):
    registry = MODELS if scope == 'mmdet' else pytest.importorskip('mmseg.registry').MODELS
    with DefaultScope.overwrite_default_scope(scope):
        model = registry.build(dict(type=f'{prefix}TimmBackbone', model_name='resnet18'))
    assert isinstance(model, TimmBackbone)


def test_pretrained_weights_come_when_weights_are_initialised(tmp_path):
    """Those of a vision transformer fit other patches and images than it was trained with."""
    name = 'vit_small_patch14_dinov2'
    source = timm.create_model(name, num_classes=0, img_size=28, depth=2, embed_dim=32, num_heads=2)
    nn.init.normal_(source.pos_embed)
    torch.save(source.state_dict(), tmp_path / 'weights.pth')
    weights = dict(pretrained_cfg_overlay=dict(file=str(tmp_path / 'weights.pth')))
    options = dict(SMALL_VIT, patch_size=16, img_size=64, **weights)
    model = TimmBackbone(name, out_strides=[16], pretrained=True, options=options)
    ours = model.model.model
    assert not torch.equal(ours.blocks[1].mlp.fc1.weight, source.blocks[1].mlp.fc1.weight)
    model.init_weights()
    assert torch.equal(ours.blocks[1].mlp.fc1.weight, source.blocks[1].mlp.fc1.weight)
    assert ours.patch_embed.proj.weight.shape[-2:] == (16, 16)
    flat = [
        p.flatten() for p in (ours.patch_embed.proj.weight.mean((2, 3)), source.patch_embed.proj.weight.mean((2, 3)))
    ]
    assert torch.corrcoef(torch.stack(flat))[0, 1] > 0.9


@pytest.mark.parametrize('norm_eval', [True, False])
def test_statistics_of_batch_norms(norm_eval):
    model = TimmBackbone('resnet18', norm_eval=norm_eval).train()
    before = model.model.bn1.running_mean.clone()
    model(torch.randn(2, 3, 64, 64))
    assert torch.equal(before, model.model.bn1.running_mean) == norm_eval
    assert not model.eval().training and model.train().training


def test_unknown_model_is_rejected_with_similar_ones():
    with pytest.raises(ValueError, match=r"model of timm .* got 'resnet81'.*resnet18"):
        TimmBackbone('resnet81')


def test_strides_a_model_does_not_have():
    with pytest.raises(ValueError, match=r'out_strides are \(4, 8, 16, 32\).*strides \[14, 14\].*SimpleFeaturePyramid'):
        TimmBackbone('vit_small_patch14_dinov2', options=SMALL_VIT)


@pytest.mark.parametrize('config', [dict(no_such_key=1), dict(options=dict(no_such_key=1))])
def test_unknown_key_is_rejected(config):
    with pytest.raises(TypeError, match='no_such_key'):
        MODELS.build(dict(type='TimmBackbone', model_name='resnet18', **config))
