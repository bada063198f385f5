import pytest
import torch

from mmmaskdino.models.layers import DeformableAttention, deformable_attention
from mmmaskdino.ops.deform_attn import sample_attention
from mmmaskdino.structures import Memory


@pytest.fixture(scope='module')
def golden(shared_golden):
    return torch.load(shared_golden / 'msdeform.pt', weights_only=True)


def attend_level_by_level(attention, queries, references, memory):
    """The records have another reference for each level, which the model never has: the other levels are hidden."""
    levels = torch.arange(attention.num_levels)
    level_of_token = levels.repeat_interleave(torch.tensor([h * w for h, w in memory.spatial_shapes]))
    total = -(attention.num_levels - 1) * attention.output_proj.bias
    for level in levels:
        hidden = level_of_token != level
        padding = hidden.expand(len(queries), -1) if memory.padding is None else memory.padding | hidden
        total = total + attention(queries, references[:, :, level], memory._replace(padding=padding))
    return total


def shapes_of(golden):
    return tuple(map(tuple, golden['spatial_shapes'].tolist()))


@pytest.mark.parametrize('case', ['case_2d', 'case_4d', 'case_2d_padded', 'case_4d_padded'])
def test_recorded_outputs_and_gradients(golden, case):
    meta, want = golden['meta'], golden[case]
    attention = DeformableAttention(meta['d_model'], meta['n_heads'], meta['n_levels'], meta['n_points'])
    attention.load_state_dict(golden['state_dict'], strict=True)
    queries, tokens = golden['query'].clone().requires_grad_(), golden['input_flatten'].clone().requires_grad_()
    references = golden['reference_points_2d' if '2d' in case else 'reference_points_4d'].clone().requires_grad_()
    memory = Memory(tokens, shapes_of(golden), golden['padding_mask'] if 'padded' in case else None)

    output = attend_level_by_level(attention, queries, references, memory)
    torch.testing.assert_close(output, want['output'], rtol=1e-5, atol=1e-5)

    (output * golden['grad_weight']).sum().backward()
    for tensor, name in ((queries, 'query'), (tokens, 'input_flatten'), (references, 'reference_points')):
        torch.testing.assert_close(tensor.grad, want[f'grad_{name}'], rtol=1e-4, atol=1e-4)
    norms = torch.stack([dict(attention.named_parameters())[n].grad.norm() for n in want['grad_params_names']])
    torch.testing.assert_close(norms, want['grad_params_norm'], rtol=1e-4, atol=1e-4)


def test_recorded_sampling_beyond_the_border(golden):
    core = golden['core']
    locations = core['sampling_locations']
    assert locations.min() < -0.2 and locations.max() > 1.2
    output = sample_attention(core['value'], shapes_of(golden), locations, core['attention_weights'])
    torch.testing.assert_close(output, core['output'], rtol=1e-5, atol=1e-5)


def test_recorded_initial_offsets(golden):
    meta = golden['meta']
    attention = DeformableAttention(meta['d_model'], meta['n_heads'], meta['n_levels'], meta['n_points'])
    attention.init_weights()
    torch.testing.assert_close(attention.sampling_offsets.bias, golden['fresh_init']['sampling_offsets_bias'])
    for unused in (attention.sampling_offsets.weight, attention.attention_weights.weight):
        assert not unused.any()


def test_references_of_one_image_serve_the_batch(make_memory):
    attention = DeformableAttention(32, 4, 2, 2)
    memory, queries, references = make_memory([(4, 6), (2, 3)]), torch.randn(2, 5, 32), torch.rand(1, 5, 2)
    torch.testing.assert_close(
        attention(queries, references, memory), attention(queries, references.expand(2, -1, -1), memory)
    )


def test_padding_is_not_looked_at(make_memory):
    attention = DeformableAttention(32, 4, 2, 2)
    padding = torch.zeros(2, 30, dtype=torch.bool)
    padding[1, 17:] = True
    memory = make_memory([(4, 6), (2, 3)], padding=padding)
    queries, references = torch.randn(2, 5, 32), torch.rand(2, 5, 4)
    garbage = torch.where(padding[..., None], 1e3 * torch.randn_like(memory.tokens), memory.tokens)
    torch.testing.assert_close(
        attention(queries, references, memory), attention(queries, references, memory._replace(tokens=garbage))
    )


def test_operator_runs_in_float32_under_autocast(make_memory, monkeypatch):
    seen = []

    def spy(value, spatial_shapes, locations, weights, levels):
        seen.extend([value.dtype, locations.dtype, weights.dtype])
        return sample_attention(value, spatial_shapes, locations, weights, levels)

    monkeypatch.setattr(deformable_attention, 'sample_attention', spy)
    attention = DeformableAttention(32, 4, 2, 2)
    memory, queries, references = make_memory([(4, 6), (2, 3)]), torch.randn(2, 5, 32), torch.rand(2, 5, 4)
    full = attention(queries, references, memory)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = attention(queries, references, memory)
    assert set(seen) == {torch.float32} and mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.float(), full, rtol=0.05, atol=0.05)


def test_dim_must_be_a_multiple_of_the_heads():
    with pytest.raises(ValueError, match='dim=32 and num_heads=5'):
        DeformableAttention(32, 5, 1, 1)
