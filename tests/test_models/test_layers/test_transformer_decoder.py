import pytest
import torch
from mmdet.registry import MODELS
from torch import nn

from mmmaskdino.models.layers import PredictionHeads

SHAPES = ((4, 6), (2, 3))


@pytest.fixture
def heads():
    heads = PredictionHeads(dim=32, cls_out_channels=5, mask_dims=16, prior_prob=None)
    nn.init.normal_(heads.norm.weight)  # else normalising a layer's output again would not show
    return heads


def make_decoder(**changes):
    settings = dict(type='MaskDINOTransformerDecoder', dim=32, num_heads=4, num_levels=2, num_points=2, num_layers=3)
    decoder = MODELS.build(settings | dict(ffn_dim=48) | changes)
    decoder.init_weights()
    return decoder


def test_recorded_sine_encoding(golden_ops):
    want = golden_ops['gen_sineembed_for_position']
    decoder = make_decoder(dim=256, num_heads=8, num_layers=1)
    decoder.embed_position = nn.Identity()
    torch.testing.assert_close(decoder._position(want['input_4']), want['output_4'], rtol=1e-5, atol=1e-5)


def test_references_are_refined_from_the_unnormalised_state(heads, make_memory):
    outputs = make_decoder()(torch.randn(2, 5, 32), torch.rand(2, 5, 4), make_memory(SHAPES), heads)
    assert len(outputs) == 3
    for before, after in zip(outputs, outputs[1:], strict=False):
        expected = heads.refine(before.references.detach(), before.hidden_state)
        torch.testing.assert_close(after.references, expected)


def test_look_forward_twice(heads, make_memory):
    """The box loss of layer i teaches layers i - 1 (through its references) and i, and no other box head before."""
    decoder, memory = make_decoder(), make_memory(SHAPES)
    outputs = decoder(torch.randn(2, 5, 32), torch.rand(2, 5, 4), memory, heads)
    boxes = heads(*outputs[2]).boxes
    (through_references,) = torch.autograd.grad(boxes.sum(), outputs[2].references, retain_graph=True)
    assert (through_references != 0).all()
    (further,) = torch.autograd.grad(boxes.sum(), outputs[1].references, retain_graph=True, allow_unused=True)
    assert further is None
    # Layer 1's state is reached through the references of layer 2 even where the states themselves are cut.
    reached = torch.autograd.grad(outputs[2].references.sum(), outputs[1].hidden_state, retain_graph=True)[0]
    assert (reached != 0).any(-1).all()
    assert torch.autograd.grad(outputs[2].references.sum(), outputs[1].references, allow_unused=True)[0] is None


def test_only_a_start_with_gradient_gets_one(heads, make_memory):
    decoder, memory = make_decoder(), make_memory(SHAPES)
    boxes, content = torch.rand(2, 5, 4, requires_grad=True), torch.randn(2, 5, 32, requires_grad=True)
    decoder(content, boxes, memory, heads)[-1].hidden_state.square().sum().backward()
    assert (boxes.grad != 0).all() and (content.grad != 0).all()


def test_blocked_queries_do_not_reach_the_others(heads, make_memory):
    decoder, memory, boxes = make_decoder(), make_memory(SHAPES), torch.rand(2, 5, 4)
    content = torch.randn(2, 5, 32)
    mask = torch.zeros(5, 5, dtype=torch.bool)
    mask[2:, :2] = True
    changed = content.clone()
    changed[:, :2] += 1
    first, second = (decoder(c, boxes, memory, heads, mask)[-1].hidden_state for c in (content, changed))
    torch.testing.assert_close(first[:, 2:], second[:, 2:])
    assert not torch.allclose(first[:, :2], second[:, :2], atol=1e-2)
    free = decoder(changed, boxes, memory, heads)[-1].hidden_state
    assert not torch.allclose(first[:, 2:], free[:, 2:], atol=1e-3)


def test_queries_come_in_any_order(heads, make_memory):
    decoder, memory = make_decoder(), make_memory(SHAPES)
    content, boxes, order = torch.randn(2, 5, 32), torch.rand(2, 5, 4), torch.tensor([3, 0, 4, 1, 2])
    plain = decoder(content, boxes, memory, heads)[-1]
    moved = decoder(content[:, order], boxes[:, order], memory, heads)[-1]
    torch.testing.assert_close(moved.hidden_state, plain.hidden_state[:, order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(moved.references, plain.references[:, order], rtol=1e-4, atol=1e-5)


def test_initialisation_keeps_the_pattern_of_the_attention():
    decoder = make_decoder()
    for layer in decoder.layers:
        assert not layer.cross_attention.sampling_offsets.weight.any()
        assert layer.cross_attention.sampling_offsets.bias.abs().max() == 2  # as many steps as points


def test_unknown_key_is_rejected():
    with pytest.raises(TypeError, match='dropout'):
        make_decoder(dropout=0.1)


def test_positions_survive_half_precision():
    """Frequencies that became half precision with the model would give neighbours the same position."""
    boxes = torch.tensor([[[0.5, 0.5, 0.1, 0.1]], [[0.501, 0.5, 0.1, 0.1]]])
    decoder = make_decoder(dim=256, num_heads=8, num_layers=1)
    decoder.embed_position = nn.Identity()
    expected = decoder._position(boxes)
    assert torch.equal(decoder.bfloat16()._position(boxes), expected)
