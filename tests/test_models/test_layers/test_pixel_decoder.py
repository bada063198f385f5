import pytest
import torch
from mmdet.registry import MODELS

from mmmaskdino.models.layers.pixel_decoder import MaskDINOPixelDecoder, cell_centers, outside

SHAPES = {4: (16, 24), 8: (8, 12), 16: (4, 6), 32: (2, 3), 64: (1, 2), 128: (1, 1)}


def make_decoder(**changes):
    settings = dict(in_channels=[8, 16, 24, 32], dim=32, mask_dims=16, num_heads=4, num_points=2, num_layers=1)
    decoder = MODELS.build(dict(type='MaskDINOPixelDecoder', ffn_dim=48) | settings | changes)
    decoder.init_weights()
    return decoder


@pytest.mark.parametrize('strides', [(8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32, 64), (16, 32), (32, 64, 128)])
def test_levels_and_mask_features(strides, make_features):
    decoder = make_decoder(encoder_strides=strides)
    mask_features, memory = decoder(make_features())
    assert memory.spatial_shapes == tuple(SHAPES[stride] for stride in strides)
    assert memory.tokens.shape == (2, sum(h * w for h, w in memory.spatial_shapes), 32)
    assert memory.padding is None
    assert mask_features.shape == (2, 16, 16, 24)


def test_extra_levels_come_from_the_coarsest_map_and_from_one_another(make_features):
    decoder = make_decoder(encoder_strides=(16, 32, 64, 128))
    convs = [projection.conv for projection in decoder.input_projections]
    assert [conv.in_channels for conv in convs] == [24, 32, 32, 32]
    assert [conv.kernel_size for conv in convs] == [(1, 1), (1, 1), (3, 3), (3, 3)]
    features = make_features()
    projected = decoder._project(features)
    torch.testing.assert_close(projected[2], decoder.input_projections[2](features[-1]))
    torch.testing.assert_close(projected[3], decoder.input_projections[3](projected[2]))


def test_no_mask_branch_without_masks(make_features):
    decoder = make_decoder(mask_dims=None, encoder_strides=(8, 16, 32))
    mask_features, memory = decoder(make_features())
    assert mask_features is None and len(memory.spatial_shapes) == 3
    names = {name.split('.')[0] for name, _ in decoder.named_parameters()}
    assert names == {'input_projections', 'level_embedding', 'layers'}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(in_strides=(4, 8, 16)), r'same length, got \(8, 16, 24, 32\) and \(4, 8, 16\)'),
        (dict(in_strides=(4, 8, 16, 64)), r'in_strides must go from fine to coarse.*\(4, 8, 16, 64\)'),
        (dict(encoder_strides=(32, 16, 8)), r'encoder_strides must go from fine to coarse.*\(32, 16, 8\)'),
        (dict(encoder_strides=()), 'encoder_strides must go from fine to coarse'),
        (dict(encoder_strides=(2, 4, 8, 16, 32)), r'must begin at a stride of the backbone \(4, 8, 16, 32\)'),
        (dict(encoder_strides=(64, 128)), 'must begin at a stride of the backbone'),
        (dict(encoder_strides=(8, 16)), r'reach its coarsest, got \(8, 16\)'),
    ],
)
def test_strides_that_do_not_fit_are_rejected(changes, message):
    with pytest.raises(ValueError, match=message):
        make_decoder(**changes)


def test_wrong_maps_are_rejected_with_their_shapes(make_features):
    decoder = make_decoder()
    features = make_features()
    with pytest.raises(ValueError, match=r'channels \(8, 16, 24, 32\).*got channels \(8, 16, 24\) and .*\(4, 6\)'):
        decoder(features[:3])
    with pytest.raises(ValueError, match=r'got channels \(8, 16, 32, 24\)'):
        decoder([*features[:2], features[3], features[2]])
    with pytest.raises(ValueError, match=r'each half as large.*\[\(16, 24\), \(8, 12\), \(4, 6\), \(4, 6\)\]'):
        decoder([*features[:3], torch.randn(2, 32, 4, 6)])


def test_odd_sizes_are_accepted():
    features = [torch.randn(1, 8 * (i + 1), *size) for i, size in enumerate([(25, 34), (13, 17), (7, 9), (4, 5)])]
    mask_features, memory = make_decoder()(features)
    assert memory.spatial_shapes == ((13, 17), (7, 9), (4, 5), (2, 3))
    assert mask_features.shape[-2:] == (25, 34)


def test_cell_centers_are_the_recorded_references(golden_ops):
    want = golden_ops['encoder_reference_points']
    shapes = tuple(map(tuple, want['spatial_shapes'].tolist()))
    # The record has a token's reference on each level; on the token's own level it is the centre of its cell.
    levels = torch.arange(len(shapes)).repeat_interleave(torch.tensor([h * w for h, w in shapes]))
    expected = want['output'][:, torch.arange(len(levels)), levels]
    got = cell_centers(shapes, torch.device('cpu'))
    torch.testing.assert_close(got.expand(2, -1, -1), expected, rtol=1e-6, atol=1e-6)


def test_padding_by_the_centre_of_the_cell():
    centers = cell_centers([(2, 4)], torch.device('cpu'))[0]  # x at 1/8, 3/8, 5/8, 7/8, y at 1/4, 3/4
    got = outside(centers, [(1.0, 0.5), (0.5, 0.63), (1.0, 1.0)])
    assert got.view(3, 2, 4).int().tolist() == [
        [[0, 0, 1, 1], [0, 0, 1, 1]],
        [[0, 0, 0, 1], [1, 1, 1, 1]],
        [[0, 0, 0, 0], [0, 0, 0, 0]],
    ]


def test_padded_tokens_reach_no_other_token(make_features):
    decoder = make_decoder(encoder_strides=(8, 16, 32), num_layers=2)
    sizes = [(1.0, 1.0), (0.5, 0.5)]
    memory = decoder(make_features(), sizes)[1]
    tokens = torch.where(memory.padding[..., None], 100 * torch.randn_like(memory.tokens), memory.tokens)
    position = decoder._position(memory.spatial_shapes, tokens)
    references = cell_centers(memory.spatial_shapes, tokens.device)
    outputs = []
    for start in (memory, memory._replace(tokens=tokens)):
        for layer in decoder.layers:
            start = layer(start, position, references)
        outputs.append(start.tokens[~memory.padding])
    assert memory.padding[1].any() and not memory.padding[0].any()
    torch.testing.assert_close(*outputs)


def test_position_is_sine_plus_level(make_features, golden_ops):
    want = golden_ops['position_embedding_sine']
    decoder = make_decoder(encoder_strides=(8, 16, 32))
    shapes = ((8, 12), tuple(want['size']), (2, 3))
    position = decoder._position(shapes, torch.zeros(1))
    start = 8 * 12
    level = position[0, start : start + 35] - decoder.level_embedding[1]
    torch.testing.assert_close(level.T.unflatten(1, want['size'])[None], want['output'], rtol=1e-5, atol=1e-5)


def test_positions_survive_half_precision(make_features):
    decoder, shapes = make_decoder(encoder_strides=(8, 16, 32)), ((8, 12), (4, 6), (2, 3))
    decoder.level_embedding.data.zero_()
    expected = decoder._position(shapes, torch.zeros(1))
    assert torch.equal(decoder.bfloat16()._position(shapes, torch.zeros(1)), expected)


def test_unknown_key_is_rejected():
    with pytest.raises(TypeError, match='num_layer'):
        make_decoder(num_layer=2)
    assert MODELS.get('MaskDINOPixelDecoder') is MaskDINOPixelDecoder
