import pytest
import torch
from mmdet.registry import MODELS

from mmmaskdino.models.layers import EncoderQuerySelection, LearnedQueries, PredictionHeads, decode_masks, query_init
from mmmaskdino.models.utils import boxes_from_query_masks
from mmmaskdino.ops import device
from mmmaskdino.structures import Memory

SHAPES = ((8, 12), (4, 6), (2, 3))


@pytest.fixture
def heads():
    heads = PredictionHeads(dim=32, cls_out_channels=5, mask_dims=16, prior_prob=None)
    torch.nn.init.normal_(heads.norm.weight)  # else a second normalisation would not show
    torch.nn.init.normal_(heads.norm.bias)
    return heads


def make_selection(**changes):
    settings = dict(type='EncoderQuerySelection', num_queries=9, proposal_sizes=[0.1, 0.2, 0.4], dim=32)
    return MODELS.build(settings | changes)


def recorded(golden_ops, name):
    record = golden_ops[name]
    shapes = tuple(map(tuple, record['spatial_shapes'].tolist()))
    return record, shapes, record['memory']


def test_recorded_proposals(golden_ops):
    record, shapes, tokens = recorded(golden_ops, 'gen_encoder_output_proposals')
    selection = make_selection(proposal_sizes=[0.05, 0.1, 0.2])
    proposals, invalid = selection._proposals(Memory(tokens, shapes, None))
    assert invalid.sum() == record['n_invalid']
    logits = proposals.logit().expand(2, -1, -1).masked_fill(invalid[..., None], torch.inf)
    torch.testing.assert_close(logits, record['output_proposals_unsigmoid'], rtol=1e-4, atol=1e-5)
    kept = tokens.masked_fill(invalid[..., None], 0.0)
    torch.testing.assert_close(kept, record['output_memory'])


@pytest.mark.parametrize(('width', 'num_invalid'), [(49, 0), (51, 2)])  # half a cell is 0.0102 and 0.0098
def test_proposals_at_the_border(make_memory, width, num_invalid):
    _, invalid = make_selection(proposal_sizes=[0.1])._proposals(make_memory([(1, width)], bs=1))
    assert invalid.sum() == num_invalid
    assert invalid[0, [0, -1]].all() == (num_invalid > 0)


def test_padding_makes_proposals_invalid_and_moves_none(golden_ops):
    record, shapes, tokens = recorded(golden_ops, 'gen_encoder_output_proposals_padded')
    selection, padding = make_selection(proposal_sizes=[0.05, 0.1, 0.2]), record['padding_mask']
    plain, plain_invalid = selection._proposals(Memory(tokens, shapes, None))
    proposals, invalid = selection._proposals(Memory(tokens, shapes, padding))
    assert padding.any() and torch.equal(invalid, plain_invalid | padding)
    assert torch.equal(proposals, plain)
    # The record measures centres in the valid part; here, as everywhere, they are measured on the canvas.
    for image in range(2):
        start = 0
        for h, w in shapes:
            part = slice(start, start + h * w)
            valid = ~padding[image, part].view(h, w)
            ratio = torch.tensor([valid[0].sum() / w, valid[:, 0].sum() / h])
            theirs = record['output_proposals_unsigmoid'][image, part].sigmoid()
            both = (theirs < 1).all(-1) & ~invalid[image, part]
            torch.testing.assert_close(theirs[both, :2] * ratio, proposals[0, part][both, :2], rtol=1e-4, atol=1e-5)
            start += h * w


def test_selects_the_best_class_scores_without_the_decoders_norm(heads, make_memory):
    selection, memory = make_selection(), make_memory(SHAPES)
    start = selection(memory, torch.randn(2, 16, 16, 24), heads)
    _, invalid = selection._proposals(memory)
    tokens = selection.norm(selection.project(memory.tokens.masked_fill(invalid[..., None], 0.0)))
    best = heads.classify(tokens).max(-1).values.topk(9, 1).indices
    for image in range(2):
        torch.testing.assert_close(start.content[image], tokens[image, best[image]])
    assert torch.equal(start.selected, best)
    assert not start.scores.requires_grad and torch.equal(start.scores.topk(9, 1).indices, best)
    torch.testing.assert_close(start.encoder_stage.cls_logits, heads.classify(heads.norm(start.content)))


def test_gradient_of_the_encoder_stage_only(heads, make_memory):
    selection, memory = make_selection(), make_memory(SHAPES)
    tokens = memory.tokens.requires_grad_()
    start = selection(memory, torch.randn(2, 16, 16, 24), heads)
    assert not start.content.requires_grad and not start.boxes.requires_grad
    for field in start.encoder_stage:
        (grad,) = torch.autograd.grad(field.sum(), tokens, retain_graph=True)
        assert grad.isfinite().all() and (grad != 0).any(-1).sum() == 18  # of the selected tokens


def test_fewer_tokens_than_queries(heads, make_memory):
    selection, memory = make_selection(num_queries=1000), make_memory(SHAPES)
    start = selection(memory, torch.randn(2, 16, 16, 24), heads)
    assert start.content.shape == (2, 126, 32) and start.boxes.shape == (2, 126, 4)
    assert start.boxes.isfinite().all()


def test_padded_tokens_are_selected_last(heads, make_memory):
    padding = torch.ones(1, 126, dtype=torch.bool)
    padding[0, [13, 40]] = False
    memory = make_memory(SHAPES, bs=1, padding=padding)
    selection = make_selection(num_queries=3)
    empty = selection.norm(selection.project(torch.zeros(32)))
    with torch.no_grad():
        heads.classify.weight.copy_(10 * empty.expand(5, -1))  # what is in the padding would come first
    start = selection(memory, torch.randn(1, 16, 16, 24), heads)
    valid = selection.norm(selection.project(memory.tokens[0, [13, 40]]))
    distances = torch.cdist(start.content[0], valid)
    assert distances[:2].min(0).values.max() < 1e-4 and distances[2].min() > 0.1
    assert (start.boxes[0, :2] < 1).all() and (start.boxes[0, 2] == 1).all()


def test_box_of_an_invalid_token_is_the_whole_canvas(heads, make_memory):
    memory = make_memory([(1, 2)], bs=1)  # centres at 0.25 and 0.75, but the proposals reach 0.995
    start = make_selection(proposal_sizes=[0.995])(memory, torch.randn(1, 16, 4, 4), heads)
    assert torch.equal(start.boxes, torch.ones(1, 2, 4))


@pytest.mark.parametrize('masks_at_a_time', [100, 2, 1])
@pytest.mark.parametrize('convention', ['tight', 'bitmask', 'mask2box'])
def test_mask_enhanced_boxes(heads, make_memory, convention, masks_at_a_time, monkeypatch):
    seen = []
    monkeypatch.setattr(device, 'HOST_VALUES', masks_at_a_time * 2 * 16 * 24)
    monkeypatch.setattr(query_init, 'decode_masks', lambda e, f: seen.append(e.shape[1]) or decode_masks(e, f))
    memory, features = make_memory(SHAPES), torch.randn(2, 16, 16, 24)
    torch.manual_seed(3)
    start = make_selection(initial_boxes=convention)(memory, features, heads)
    assert sum(seen) == 9 and max(seen) <= masks_at_a_time
    masks = decode_masks(start.encoder_stage.mask_embeds, features) > 0
    expected = boxes_from_query_masks(masks, start.encoder_stage.boxes.detach(), convention)
    torch.testing.assert_close(start.boxes, expected)
    assert not torch.allclose(start.boxes, start.encoder_stage.boxes)


def test_predicted_boxes(heads, make_memory):
    start = make_selection()(make_memory(SHAPES), torch.randn(2, 16, 16, 24), heads)
    assert torch.equal(start.boxes, start.encoder_stage.boxes)


def test_rejected_settings(heads, make_memory):
    with pytest.raises(ValueError, match="initial_boxes must be one of .*'tight'.* got 'masks'"):
        make_selection(initial_boxes='masks')
    with pytest.raises(ValueError, match='one size per encoder level: expected 2, got 3'):
        make_selection()(make_memory(SHAPES[:2]), None, heads)
    with pytest.raises(TypeError, match='num_querys'):
        make_selection(num_querys=3)


def test_learned_queries(heads, make_memory):
    queries = LearnedQueries(num_queries=7, dim=32)
    start = queries(make_memory(SHAPES), None, heads)
    assert start.content.shape == (2, 7, 32) and start.encoder_stage is None
    assert start.selected is None and start.scores is None
    torch.testing.assert_close(start.boxes[1], queries.box_logits.weight.sigmoid())
    (start.content.sum() + start.boxes.sum()).backward()
    assert all((p.grad != 0).all() for p in queries.parameters())


def test_only_selected_queries_supervise_initial_denoising():
    assert make_selection().supervises_initial_denoising
    assert not LearnedQueries(3, 32).supervises_initial_denoising
    assert MODELS.get('EncoderQuerySelection') is EncoderQuerySelection


@pytest.mark.parametrize('factor', [1 - 2**-22, 1 + 2**-22])
def test_a_centre_on_the_border_is_no_candidate_however_it_is_rounded(make_memory, monkeypatch, factor):
    selection = EncoderQuerySelection(num_queries=3, proposal_sizes=[0.1], dim=32)
    memory = make_memory([(50, 3)])  # the first row's centre is 0.01, the last one's 0.99
    _, expected = selection._proposals(memory)
    assert expected.view(2, 50, 3)[:, [0, -1]].all() and not expected.view(2, 50, 3)[:, 1:-1].any()
    centers = query_init.cell_centers
    monkeypatch.setattr(query_init, 'cell_centers', lambda *args: centers(*args) * factor)
    assert torch.equal(selection._proposals(memory)[1], expected)
