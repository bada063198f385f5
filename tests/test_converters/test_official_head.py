import re

import pytest
import torch

from mmmaskdino.converters import convert_head, restore_head

ALL_ALIASES = (
    'predictor.bbox_embed.2.layers.1.weight',
    'predictor.decoder.bbox_embed.0.layers.1.weight',
    'predictor._bbox_embed.layers.1.weight',
)


@pytest.mark.parametrize('weights', ['inst4', 'inst5', 'inst3', 'sem3', 'pano4'])
def test_second_names_change_nothing(golden_weights, weights):
    plain, aliased = golden_weights(weights), golden_weights(weights, aliases=True)
    assert len(aliased) > len(plain)
    first, second = convert_head(plain).tensors, convert_head(aliased).tensors
    assert set(first) == set(second) and len(first) == len(plain)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ('weights', 'coarsest_first'),
    [('inst4', False), ('inst5', False), ('inst3', True), ('sem3', True), ('pano4', False)],
)
def test_back_with_all_second_names(golden_weights, weights, coarsest_first):
    official = golden_weights(weights, aliases=True)
    back = restore_head(convert_head(official).tensors, coarsest_first)
    assert set(back.tensors) == set(official)
    assert all(torch.equal(back.tensors[name], official[name]) for name in official)
    other_order = restore_head(convert_head(official).tensors, not coarsest_first).tensors
    assert not torch.equal(
        other_order['pixel_decoder.transformer.level_embed'], official['pixel_decoder.transformer.level_embed']
    )


@pytest.mark.parametrize(('weights', 'coarsest_first'), [('inst4', False), ('inst5', False), ('inst3', True)])
def test_levels_end_up_finest_first(golden_weights, weights, coarsest_first):
    """Encoder and decoder order their levels oppositely: one of the two is turned round, and nothing else changes."""
    official = golden_weights(weights)
    converted = convert_head(official).tensors
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


def test_projections_follow_the_channels(golden_weights):
    names = [f'pixel_decoder.input_projections.{i}.conv.weight' for i in range(4)]
    for weights in ('inst4', 'inst3'):
        converted = convert_head(golden_weights(weights)).tensors
        channels = [converted[name].shape[1] for name in names if name in converted]
        assert channels[:3] == [24, 32, 40] and channels[3:] in ([], [40])


def test_norms_of_the_decoder_follow_their_attention(golden_weights):
    """The official cross-attention is followed by norm1, although it comes second."""
    official = golden_weights('inst4')
    converted = convert_head(official).tensors
    for theirs, ours in ((1, 2), (2, 1), (3, 3)):
        got = converted[f'decoder.layers.1.norm{ours}.weight']
        assert torch.equal(got, official[f'predictor.decoder.layers.1.norm{theirs}.weight'])


@pytest.mark.parametrize(
    'name', ['predictor.unknown.weight', 'pixel_decoder.fpn.weight', 'predictor.decoder.unknown', 'heads.norm.weight']
)
def test_unknown_name_is_rejected(golden_weights, name):
    with pytest.raises(ValueError, match=f'^{re.escape(name)} is no parameter of an official Mask DINO head'):
        convert_head(golden_weights('inst4') | {name: torch.zeros(1)})


@pytest.mark.parametrize('lost', ['pixel_decoder.transformer.level_embed', 'pixel_decoder.input_proj'])
def test_part_of_a_head_is_rejected(golden_weights, lost):
    official = {name: t for name, t in golden_weights('inst4').items() if not name.startswith(lost)}
    with pytest.raises(ValueError, match=f'tensors? {lost}.*found none'):
        convert_head(official)


@pytest.mark.parametrize('changed', ALL_ALIASES)
def test_names_of_one_tensor_that_disagree_are_rejected(golden_weights, changed):
    official = golden_weights('inst4', aliases=True)
    official[changed] = official[changed] + 1
    with pytest.raises(ValueError, match=r'bbox_embed.*layers\.1\.weight are one tensor.* but hold different values'):
        convert_head(official)


def test_arguments_are_not_changed(golden_weights):
    official = golden_weights('inst3')
    before = {key: value.clone() for key, value in official.items()}
    for tensor in convert_head(official).tensors.values():
        assert tensor.isfinite().all()
    assert set(official) == set(before) and all(torch.equal(official[key], before[key]) for key in before)
