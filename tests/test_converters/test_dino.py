"""DINO to Mask DINO. mmdet's DINO is built and run; the other two code bases have their names tested only."""

import re
from pathlib import Path

import mmdet
import pytest
import torch
from mmdet.models.layers.transformer import dino_layers
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch import nn

from mmmaskdino.converters import convert, convert_dino, read_target
from mmmaskdino.converters.dino import COCO_IDS
from mmmaskdino.converters.dino_names import SOURCES
from mmmaskdino.converters.target import WithoutMemory
from mmmaskdino.structures import Memory

DIM, NUM_CLASSES, NUM_QUERIES, NUM_LAYERS = 64, 80, 20, 6
MASKS = re.compile(r'panoptic_head\.(pixel_decoder\.(lateral|output|mask_features)|heads\.embed_mask)\.')


def narrow_encoding(monkeypatch, decoder):
    """mmdet 3.3.0's decoder: 512 numbers per box at 256 channels, instead of the OneDL packages' 1024."""
    encode = dino_layers.coordinate_to_encoding
    monkeypatch.setattr(
        dino_layers, 'coordinate_to_encoding', lambda boxes, num_feats=None: encode(boxes, num_feats=DIM // 2)
    )
    decoder.ref_point_head = dino_layers.MLP(2 * DIM, DIM, DIM, 2)


@pytest.fixture
def dino(monkeypatch, mmdet_scope):
    """mmdet's DINO, small, with one head for all layers and the positions of Mask DINO's encoder."""
    attention = dict(embed_dims=DIM, dropout=0.0)
    ffn = dict(embed_dims=DIM, feedforward_channels=96, ffn_drop=0.0)
    config = dict(
        type='DINO',
        num_queries=NUM_QUERIES,
        with_box_refine=True,
        as_two_stage=True,
        backbone=dict(type='ResNet', depth=18, base_channels=8, out_indices=(1, 2, 3)),
        neck=dict(
            type='ChannelMapper',
            in_channels=[16, 32, 64],
            out_channels=DIM,
            kernel_size=1,
            act_cfg=None,
            norm_cfg=dict(type='GN', num_groups=32),
            num_outs=4,
        ),
        encoder=dict(num_layers=2, layer_cfg=dict(self_attn_cfg=dict(attention, num_levels=4), ffn_cfg=ffn)),
        decoder=dict(
            num_layers=NUM_LAYERS,
            return_intermediate=True,
            layer_cfg=dict(
                self_attn_cfg=dict(attention, num_heads=8), cross_attn_cfg=dict(attention, num_levels=4), ffn_cfg=ffn
            ),
            post_norm_cfg=None,
        ),
        # The released ones have temperature=20.
        positional_encoding=dict(num_feats=DIM // 2, normalize=True, offset=0.0, temperature=10000),
        bbox_head=dict(
            type='DINOHead',
            num_classes=NUM_CLASSES,
            embed_dims=DIM,
            loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        ),
        dn_cfg=dict(label_noise_scale=0.5, box_noise_scale=1.0, group_cfg=dict(num_dn_queries=100)),
        test_cfg=dict(max_per_img=NUM_QUERIES),
    )
    model = MODELS.build(Config(config).to_dict())
    narrow_encoding(monkeypatch, model.decoder)
    for name, parameter in model.named_parameters():
        if not re.search(r'norms?\b|\.bn|\.gn|decoder\.norm', name):
            nn.init.normal_(parameter, std=0.1)
    for branches in (model.bbox_head.cls_branches, model.bbox_head.reg_branches):
        for branch in branches:
            branch.load_state_dict(branches[-1].state_dict())
    return model.eval()


@pytest.fixture
def make_config(project_root):
    """Mask DINO with the sizes of the small DINO."""

    def make(**head):
        cfg = Config.fromfile(project_root / 'configs' / 'maskdino' / 'maskdino_r50_coco_instance.py')
        cfg.model.backbone.update(depth=18, base_channels=8, init_cfg=None, norm_cfg=dict(type='BN'))
        cfg.merge_from_dict(
            {
                'model.panoptic_head': dict(
                    in_channels=[8, 16, 32, 64],
                    dim=DIM,
                    mask_dims=DIM,
                    pixel_decoder=dict(num_layers=2, ffn_dim=96),
                    # mmdet's order: the finest level proposes the smallest boxes.
                    query_init=dict(
                        num_queries=NUM_QUERIES, proposal_sizes=[0.05, 0.1, 0.2, 0.4], initial_boxes='predicted'
                    ),
                    decoder=dict(num_layers=NUM_LAYERS, ffn_dim=96),
                )
            }
        )
        cfg.merge_from_dict({'model.panoptic_head': head})
        return cfg

    return make


@pytest.fixture
def make_target(make_config):
    """The same as a conversion's target."""
    return lambda **head: read_target(make_config(**head))


def encoded(dino, images):
    """What mmdet's decoder starts from: memory, shapes, queries, references."""
    sample = DetDataSample(metainfo=dict(img_shape=images.shape[-2:], batch_input_shape=images.shape[-2:]))
    encoder_inputs, decoder_inputs = dino.pre_transformer(dino.extract_feat(images), [sample])
    outputs = dino.forward_encoder(**encoder_inputs)
    start, _ = dino.pre_decoder(**outputs, batch_data_samples=[sample])
    return outputs, start | decoder_inputs


@torch.no_grad()
def test_same_boxes_and_classes_for_the_same_queries(dino, make_config, make_target):
    result = convert(dino.state_dict(), make_target())
    assert result.kind == 'mmdet-dino'
    assert result.random and all(MASKS.match(name) for name in result.random)
    model = MODELS.build(make_config().model).eval()
    model.load_state_dict(result.conversion.tensors, strict=False)
    head = model.panoptic_head

    images = torch.randn(1, 3, 96, 128)
    outputs, start = encoded(dino, images)
    _, memory = head.pixel_decoder(model.extract_feat(images))
    torch.testing.assert_close(memory.tokens, outputs['memory'], atol=1e-4, rtol=1e-4)
    queries = head.query_init(memory, None, _without_masks(head.heads))
    torch.testing.assert_close(queries.boxes, start['reference_points'], atol=1e-4, rtol=1e-4)

    hidden_states, references = (dino.forward_decoder(**start)[key] for key in ('hidden_states', 'references'))
    classes, boxes = dino.bbox_head(hidden_states, references)
    memory = Memory(outputs['memory'], memory.spatial_shapes, None)
    layers = head.decoder(start['query'], start['reference_points'], memory, head.heads)
    # mmdet moves references by the inverse sigmoid with eps 1e-3, so boxes that touch the border may differ.
    inside = ((start['reference_points'] > 0.01) & (start['reference_points'] < 0.99)).all(-1)
    assert inside.sum() > NUM_QUERIES // 2
    for i, layer in enumerate(layers):
        stage = _without_masks(head.heads)(*layer)
        torch.testing.assert_close(stage.boxes[inside], boxes[i][inside], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(stage.cls_logits[inside], classes[i][inside], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_classes_of_a_trained_norm_differ_by_the_second_normalisation(dino, make_config, make_target):
    """Mask DINO normalises twice before the class head, DINO once: the same only while the norm is the identity."""
    nn.init.normal_(dino.decoder.norm.weight)
    model = MODELS.build(make_config().model).eval()
    model.load_state_dict(convert(dino.state_dict(), make_target()).conversion.tensors, strict=False)
    heads = _without_masks(model.panoptic_head.heads)
    hidden, boxes = torch.randn(1, 5, DIM), torch.rand(1, 5, 4)
    normed = dino.decoder.norm(hidden)
    stage = heads(hidden, boxes)
    deltas = dino.bbox_head.reg_branches[-1](normed)
    torch.testing.assert_close(stage.boxes, (deltas + boxes.logit(1e-5)).sigmoid())
    torch.testing.assert_close(stage.cls_logits, dino.bbox_head.cls_branches[-1](dino.decoder.norm(normed)))
    assert not torch.allclose(stage.cls_logits, dino.bbox_head.cls_branches[-1](normed), atol=1e-2)


def _without_masks(heads):
    heads.embed_mask = None
    return heads


def test_wide_encoding_is_rejected_with_the_reason(dino, make_target):
    state = dino.state_dict()
    state['decoder.ref_point_head.layers.0.weight'] = torch.zeros(DIM, 4 * DIM)
    with pytest.raises(ValueError, match=f'with {4 * DIM} numbers .* mmdet 3.3.0 with {2 * DIM}.*OneDL'):
        convert(state, make_target())


def test_account_of_every_tensor(dino, make_target):
    state = dino.state_dict()
    result = convert(state, make_target(decoder=dict(num_layers=9)))
    conversion = result.conversion
    assert set(conversion.used) | set(conversion.dropped) == set(state)
    dropped = {re.sub(r'\d+', 'N', name): reason for name, reason in conversion.dropped.items()}
    assert set(dropped) == {
        'query_embedding.weight',
        *(f'bbox_head.cls_branches.N.{kind}' for kind in ('weight', 'bias')),
        *(f'bbox_head.reg_branches.N.N.{kind}' for kind in ('weight', 'bias')),
    }
    assert conversion.used['bbox_head.cls_branches.5.weight'] == 'panoptic_head.heads.classify.weight'
    # mmdet's projections have no bias; the extra level follows those of the backbone.
    assert list(conversion.added) == [f'panoptic_head.pixel_decoder.input_projections.{i}.conv.bias' for i in range(4)]
    assert not any(conversion.tensors[name].any() for name in conversion.added)
    assert conversion.used['neck.extra_convs.0.conv.weight'].endswith('input_projections.3.conv.weight')
    layers = {name for name in result.random if not MASKS.match(name)}
    assert {name.split('.')[3] for name in layers} == {'6', '7', '8'}
    assert {result.random[name] for name in layers} == {'this DINO has 6 decoder layers'}


def test_other_classes_stay_random(dino, make_target):
    result = convert(dino.state_dict(), make_target(num_stuff_classes=53))
    reason = '80 classes, the model of the config has 133'
    assert {name.split('.', 1)[1] for name, why in result.random.items() if why == reason} == {
        'heads.classify.weight',
        'heads.classify.bias',
        'denoising.label_embedding.weight',
    }
    assert result.conversion.dropped['bbox_head.cls_branches.5.bias'] == reason


def test_learned_queries_and_fewer_layers(dino, make_target):
    queries = dict(_delete_=True, type='LearnedQueries', num_queries=5)
    result = convert(dino.state_dict(), make_target(query_init=queries, decoder=dict(num_layers=3), denoising=None))
    assert result.conversion.dropped['memory_trans_fc.weight'] == 'the model of the config has no such part'
    assert 'decoder.layers.5.norms.2.weight' in result.conversion.dropped
    assert 'dn_query_generator.label_embedding.weight' in result.conversion.dropped
    assert {'panoptic_head.query_init.content.weight', 'panoptic_head.query_init.box_logits.weight'} <= set(
        result.random
    )


def test_another_size_is_rejected(dino, make_target):
    levels = dict(pixel_decoder=dict(encoder_strides=[8, 16, 32]), query_init=dict(proposal_sizes=[0.05, 0.1, 0.2]))
    with pytest.raises(ValueError, match=r'level_embedding: expected shape \(3, 64\), got \(4, 64\)'):
        convert(dino.state_dict(), make_target(**levels))
    for theirs, ours in (('encoder.layers.1.', 'pixel_decoder.layers.1'), ('decoder.layers.2.', 'decoder.layers.2')):
        lost = {name: tensor for name, tensor in dino.state_dict().items() if not name.startswith(theirs)}
        with pytest.raises(ValueError, match=f'panoptic_head.{ours}.norm1.weight: missing'):
            convert(lost, make_target())
    with pytest.raises(ValueError, match='^new.weight is no parameter of a DINO'):
        convert(dino.state_dict() | {'new.weight': torch.zeros(1)}, make_target())


@pytest.mark.parametrize(
    ('published', 'config'),
    [
        ('dino-4scale_r50_8xb2-12e_coco', 'maskdino_r50_coco_instance'),
        ('dino-5scale_swin-l_8xb2-12e_coco', 'maskdino_swin-l_coco_instance'),
    ],
)
def test_published_configs_of_mmdet(published, config, load_target, make_random, mmdet_scope):
    path = next(Path(mmdet.__file__).parent.glob(f'.mim/configs/dino/{published}.py'), None)
    if path is None:
        pytest.skip('this mmdet was installed without its configs')
    with WithoutMemory():
        state = MODELS.build(Config.fromfile(path).model).state_dict()
    state = {name: make_random(tensor.shape) for name, tensor in state.items()}
    state['decoder.ref_point_head.layers.0.weight'] = make_random((256, 512))
    result = convert(state, load_target(config))
    assert set(result.random.values()) == {'DINO has no masks', 'this DINO has 6 decoder layers'}


def rename_from_mmdet(state, kind):
    """The state of mmdet's DINO under the names of another code base, written down independently of the rules."""
    official = kind == 'dino'
    rules = [
        (r'^backbone\.', 'backbone.0.body.' if official else 'backbone.'),
        (r'^memory_trans_fc\.', 'transformer.enc_output.'),
        (r'^memory_trans_norm\.', 'transformer.enc_output_norm.'),
        (r'^level_embed$', 'transformer.level_embed' + ('' if official else 's')),
        (r'^query_embedding\.', 'transformer.tgt_embed.'),
        (r'^dn_query_generator\.label_embedding\.', 'label_enc.'),
        (r'^bbox_head\.cls_branches\.', 'class_embed.'),
        (r'^bbox_head\.reg_branches\.(\d)\.0\.', r'bbox_embed.\1.layers.0.'),
        (r'^bbox_head\.reg_branches\.(\d)\.2\.', r'bbox_embed.\1.layers.1.'),
        (r'^bbox_head\.reg_branches\.(\d)\.4\.', r'bbox_embed.\1.layers.2.'),
        (r'^(encoder|decoder)\.', r'transformer.\1.'),
    ]
    if official:
        rules += [
            (r'^neck\.convs\.(\d)\.conv\.', r'input_proj.\1.0.'),
            (r'^neck\.convs\.(\d)\.gn\.', r'input_proj.\1.1.'),
            (r'^neck\.extra_convs\.0\.conv\.', 'input_proj.3.0.'),
            (r'^neck\.extra_convs\.0\.gn\.', 'input_proj.3.1.'),
            (r'\.ffn\.layers\.0\.0\.', '.linear1.'),
            (r'\.ffn\.layers\.1\.', '.linear2.'),
            (r'\.self_attn\.attn\.', '.self_attn.'),
            (r'(decoder\.layers\.\d)\.norms\.0\.', r'\1.norm2.'),
            (r'(decoder\.layers\.\d)\.norms\.1\.', r'\1.norm1.'),
            (r'(decoder\.layers\.\d)\.norms\.2\.', r'\1.norm3.'),
            (r'(encoder\.layers\.\d)\.norms\.0\.', r'\1.norm1.'),
            (r'(encoder\.layers\.\d)\.norms\.1\.', r'\1.norm2.'),
            (r'^class_embed\.6\.', 'transformer.enc_out_class_embed.'),
            (r'^bbox_embed\.6\.', 'transformer.enc_out_bbox_embed.'),
        ]
    else:
        rules += [
            (r'^neck\.(.*)\.gn\.', r'neck.\1.norm.'),
            (r'\.ffn\.', '.ffns.0.'),
            (r'\.self_attn\.', '.attentions.0.'),
            (r'\.cross_attn\.', '.attentions.1.'),
        ]
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    if official:  # one more row, which is never used
        renamed['label_enc.weight'] = torch.cat([renamed['label_enc.weight'], torch.ones(1, DIM)])
    heads = [name for name in renamed if re.match(r'(class|bbox)_embed\.', name)]
    return renamed | {f'transformer.decoder.{name}': renamed[name] for name in heads}


@pytest.mark.parametrize('kind', ['dino', 'detrex-dino'])
def test_names_of_the_other_code_bases(dino, make_target, kind):
    state, target = dino.state_dict(), make_target()
    renamed = rename_from_mmdet(state, kind)
    wanted, result = convert(state, target), convert(renamed, target)
    assert result.kind == kind and result.random == wanted.random
    assert set(result.conversion.tensors) == set(wanted.conversion.tensors)
    for name, tensor in result.conversion.tensors.items():
        assert torch.equal(tensor, wanted.conversion.tensors[name])
    name = 'transformer.decoder.bbox_embed.3.layers.1.bias'
    with pytest.raises(ValueError, match=f'^{name} and bbox_embed.3.* hold different values'):
        convert(renamed | {name: renamed[name] + 1}, target)


def test_class_indices_of_the_official_code():
    """Category ids: rows 1 to 90 with gaps of 91 for COCO, 1 to 365 of 366 for Objects365."""
    assert len(COCO_IDS) == NUM_CLASSES and {1, 13, 90} < set(COCO_IDS) and not {0, 12, 91} & set(COCO_IDS)
    names = ('class_embed.5.weight', 'label_enc.weight', 'transformer.decoder.layers.5.norm1.weight')
    state = {name: torch.arange(92.0) for name in names} | {names[0]: torch.arange(91.0)}
    state |= {f'transformer.decoder.layers.{i}.norm1.weight': torch.zeros(1) for i in range(6)}
    tensors = convert_dino(state, 'dino').tensors
    assert tensors['panoptic_head.heads.classify.weight'].tolist() == COCO_IDS
    assert tensors['panoptic_head.denoising.label_embedding.weight'].tolist() == COCO_IDS
    state |= {names[0]: torch.arange(366.0), names[1]: torch.arange(367.0)}
    tensors = convert_dino(state, 'dino').tensors
    assert tensors['panoptic_head.heads.classify.weight'].tolist() == list(range(1, 366))
    assert tensors['panoptic_head.denoising.label_embedding.weight'].tolist() == list(range(1, 366))


@pytest.mark.parametrize('kind', SOURCES)
def test_no_decoder_is_rejected(kind):
    with pytest.raises(ValueError, match='found no decoder layer'):
        convert_dino({'level_embed': torch.zeros(4, 8)}, kind)
