import pytest
import torch
from mmdet.registry import MODELS
from torch import nn

from mmmaskdino.models.layers import EncoderQuerySelection, PredictionHeads
from mmmaskdino.models.layers.de_imbalanced_selection import SelfAttentionLayer
from mmmaskdino.structures import HeadOutput

SHAPES = ((8, 12), (4, 6), (2, 3))
START = {'query_init.type': 'DeImbalancedQuerySelection', 'query_init.num_candidates': 30}
START |= {'query_init.num_heads': 4, 'query_init.ffn_dim': 48}


@pytest.fixture
def heads(perturb):
    heads = PredictionHeads(dim=32, cls_out_channels=5, mask_dims=16, prior_prob=None)
    heads.init_weights()
    return perturb(heads, 0.2)


@pytest.fixture
def make_selection(perturb):
    def make(**changes):
        settings = dict(type='DeImbalancedQuerySelection', num_queries=5, num_candidates=9, dim=32, num_heads=4)
        selection = MODELS.build(settings | dict(proposal_sizes=[0.1, 0.2, 0.4], ffn_dim=48) | changes)
        selection.init_weights()
        return perturb(selection)

    return make


def select(selection, memory, heads):
    torch.manual_seed(0)
    return selection(memory, torch.randn(len(memory.tokens), 16, 16, 24), heads)


def test_layer_by_hand():
    """Two tokens of two channels, no projections: each takes a share of the other by the softmax of its products."""
    layer = SelfAttentionLayer(dim=2, num_heads=1, ffn_dim=4)
    with torch.no_grad():
        layer.self_attention.in_proj_weight.copy_(torch.eye(2).repeat(3, 1))
        layer.self_attention.out_proj.weight.copy_(torch.eye(2))
        nn.init.zeros_(layer.ffn[2].weight)
        nn.init.ones_(layer.ffn[2].bias)
    layer.norm1 = layer.norm2 = nn.Identity()
    tokens, nowhere = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.zeros(1, 2, 2)
    # exp(1 / sqrt(2)) = 2.0281 to 1; token, plus what it sees, plus 1 of the feed-forward network.
    expected = torch.tensor([[[1 + 0.66976 + 1, 0.33024 + 1], [0.33024 + 1, 1 + 0.66976 + 1]]])
    torch.testing.assert_close(layer(tokens, nowhere, None), expected, rtol=0, atol=1e-4)
    # Positions decide who looks at whom, and are not part of what is seen: exp(2 * 1 / sqrt(2)) = 4.1133 to 1.
    placed = layer(tokens, torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]), None)
    torch.testing.assert_close(placed[0, 0], torch.tensor([1 + 0.94419 + 1, 0.05581 + 1]), rtol=0, atol=1e-4)
    hidden = torch.tensor([[False, True]])
    torch.testing.assert_close(layer(tokens, nowhere, hidden)[0], torch.tensor([[3.0, 1.0], [2.0, 2.0]]))


def test_first_selection_is_the_plain_one(make_selection, heads, make_memory):
    selection, memory = make_selection(), make_memory(SHAPES)
    plain = EncoderQuerySelection(9, [0.1, 0.2, 0.4], dim=32)
    plain.load_state_dict({k: v for k, v in selection.state_dict().items() if k in plain.state_dict()})
    expected, start = select(plain, memory, heads).encoder_stage, select(selection, memory, heads)
    assert start.encoder_stage is None and start.further[0].names == ['enc_']
    for got, wanted in zip(start.further[0].stages, expected, strict=True):
        assert torch.equal(got[0], wanted)


def test_queries_are_the_best_refined_candidates(make_selection, heads, make_memory):
    selection, memory = make_selection(), make_memory(SHAPES)
    with torch.no_grad():
        selection.attention.out_proj.weight.zero_()
        selection.attention.out_proj.bias.zero_()
    start = select(selection, memory, heads)
    first, refined = start.further
    assert refined.names == ['enc1_', 'enc2_'] and refined.stages.cls_logits.shape == (2, 2, 9, 5)
    assert refined.stages.mask_embeds is None and start.content.shape == (2, 5, 32)
    candidates = selection._select(memory, heads, 9)[2]
    for image in range(2):
        best = refined.stages.cls_logits[1, image].amax(-1).topk(5).indices
        assert torch.equal(start.selected[image], candidates[image, best])
        torch.testing.assert_close(start.boxes[image], refined.stages.boxes[1, image, best])
        logits = heads.classify(heads.norm(start.content[image]))
        torch.testing.assert_close(logits, refined.stages.cls_logits[1, image, best])
        scores = start.scores[image, start.selected[image]]
        torch.testing.assert_close(scores, refined.stages.cls_logits[1, image, best].amax(-1))
        assert start.scores[image].isfinite().sum() == 9
    assert not torch.allclose(first.stages.boxes[0], refined.stages.boxes[0], atol=1e-3)


def test_boxes_are_refined_by_the_shared_head_layer_by_layer(make_selection, heads, make_memory):
    selection, memory, seen = make_selection(), make_memory(SHAPES), []
    for layer in selection.layers:
        layer.register_forward_hook(lambda module, args, output: seen.append(output))
    start = select(selection, memory, heads)
    boxes = start.further[0].stages.boxes[0]
    for tokens, refined in zip(seen, start.further[1].stages.boxes, strict=True):
        boxes = heads.refine(boxes, tokens)
        torch.testing.assert_close(refined, boxes)


def test_queries_attend_to_the_first_selection(make_selection, heads, make_memory):
    """Attention to all alike, without projections, adds the mean of the candidates as they were first selected."""
    selection, memory = make_selection(), make_memory(SHAPES)
    attention = selection.attention
    with torch.no_grad():
        attention.out_proj.bias.zero_()
        attention.out_proj.weight.zero_()
        without = select(selection, memory, heads).content
        attention.out_proj.weight.copy_(torch.eye(32))
        attention.in_proj_weight.copy_(torch.cat([torch.zeros(64, 32), torch.eye(32)]))
        attention.in_proj_bias.zero_()
    candidates = selection._select(memory, heads, 9)[0]
    torch.testing.assert_close(select(selection, memory, heads).content, without + candidates.mean(1, keepdim=True))


def test_gradients(make_selection, heads, make_memory):
    selection, memory = make_selection(), make_memory(SHAPES)
    tokens = memory.tokens.requires_grad_()
    start = select(selection, memory, heads)
    assert not start.boxes.requires_grad and not start.scores.requires_grad
    # The decoder teaches the attention, not the encoder.
    assert torch.autograd.grad(start.content.sum(), tokens, allow_unused=True, retain_graph=True)[0] is None
    (taught,) = torch.autograd.grad(start.content.square().sum(), selection.attention.out_proj.weight)
    assert taught.any()
    for group in select(selection, memory, heads).further:
        for field in filter(lambda field: field is not None, group.stages):
            (grad,) = torch.autograd.grad(field.sum(), tokens, retain_graph=True)
            assert grad.isfinite().all() and grad.any()


@pytest.mark.parametrize('num_candidates', [5, 9, 126])
def test_padding_is_neither_seen_nor_chosen(make_selection, heads, make_memory, num_candidates):
    """Of an image with seven cells, however many candidates others of its batch have room for."""
    padding = torch.ones(1, 126, dtype=torch.bool)
    padding[:, [14, 15, 26, 27, 28, 100, 101]] = False
    torch.manual_seed(3)
    memory = make_memory(SHAPES, bs=1, padding=padding)
    torch.manual_seed(3)
    selection = make_selection(num_candidates=num_candidates)
    start = select(selection, memory, heads)
    assert not padding[0, start.selected[0]].any() and start.content.isfinite().all()
    if num_candidates > 5:
        selection.num_candidates = 7
        assert torch.equal(select(selection, memory, heads).selected, start.selected)
        torch.testing.assert_close(select(selection, memory, heads).content, start.content)


@pytest.mark.parametrize('initial_boxes', ['predicted', 'tight'])
def test_fewer_tokens_than_candidates(make_selection, heads, make_memory, initial_boxes):
    selection = make_selection(num_queries=200, num_candidates=600, initial_boxes=initial_boxes)
    start = select(selection, make_memory(SHAPES), heads)
    assert start.content.shape == (2, 126, 32) and start.boxes.isfinite().all()
    assert (initial_boxes == 'predicted') == torch.equal(start.boxes.sort(1).values, _last(start).sort(1).values)


def _last(start):
    return start.further[1].stages.boxes[-1].detach()


def test_layers_are_matched_and_supervised_by_class_and_box(make_head, make_features, make_targets):
    """The losses of a layer are those of a model without masks, with the same prediction."""
    head, targets = make_head(START), make_targets([3, 1])
    output = head.forward_train(make_features(), targets)
    losses = head.criterion(output, targets)
    alone = HeadOutput(None, output.further[1].stages, None, None, None)
    expected = make_head(kind='detection').criterion(alone, targets)
    for name, term in ((n, t) for n in ('enc1_', 'enc2_') for t in ('cls', 'bbox', 'iou', 'mask', 'dice')):
        of_detection = expected.get({'enc1_': 'd0.', 'enc2_': ''}[name] + f'loss_{term}')
        got = losses.get(f'{name}loss_{term}')
        assert got is of_detection is None or torch.allclose(got, of_detection, rtol=1e-4)
    assert {f'enc_loss_{term}' for term in ('cls', 'bbox', 'iou', 'mask', 'dice')} < set(losses)
    assert all(value.isfinite() for value in losses.values())


@pytest.mark.parametrize(
    ('changes', 'kind', 'stuff'),
    [
        ({'query_init.initial_boxes': 'tight', 'box_prior': dict(type='BoxPrior')}, None, 0),
        ({'num_stuff_classes': 3, 'criterion.decouple_stuff': True}, None, 3),
        ({'criterion.loss_cls.type': 'PositionSupervisedFocalLoss'}, None, 0),
        ({'denoising': None}, 'detection', 0),
    ],
)
@pytest.mark.parametrize('counts', [[3, 1], [0, 2], [0, 0]])
def test_with_other_parts(make_head, make_features, make_targets, changes, kind, stuff, counts):
    head = make_head(START | changes, kind)
    targets = make_targets(counts, [0, 2] if stuff else None, num_stuff=stuff)
    losses = head.criterion(head.forward_train(make_features(), targets, [(1, 1), (0.5, 0.25)]), targets)
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_prediction_is_the_last_training_stage(make_head, make_features, make_targets):
    head, features = make_head(START | {'denoising': None}).eval(), make_features()
    for got, expected in zip(
        head(features)[0], head.forward_train(features, make_targets([2, 1])).matching, strict=True
    ):
        torch.testing.assert_close(got, expected[-1])


def test_rejected_settings(head_config, make_selection):
    with pytest.raises(ValueError, match=r'num_candidates >= num_queries \(5\) .*got num_candidates=4'):
        make_selection(num_candidates=4)
    with pytest.raises(ValueError, match='num_layers >= 1.*num_layers=0'):
        make_selection(num_layers=0)
    with pytest.raises(TypeError, match='candidates'):
        make_selection(candidates=600)
    with pytest.raises(ValueError, match='EncoderQuerySelection, got DeImbalancedQuerySelection'):
        MODELS.build(head_config(START | {'one_to_many': dict(type='OneToManyGroup')}))
