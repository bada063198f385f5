import pytest
import torch
import torch.nn.functional as F

from mmmaskdino.models.layers import PredictionHeads, decode_masks


@pytest.fixture
def heads():
    heads = PredictionHeads(dim=32, cls_out_channels=5, mask_dims=16, prior_prob=0.01)
    heads.init_weights()
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return heads


def test_layer_normalises_twice_for_classes_and_masks_and_once_for_boxes(heads):
    hidden, boxes = 3 * torch.randn(2, 7, 32) + 1, 0.1 + 0.8 * torch.rand(2, 7, 4)
    once = F.layer_norm(hidden, (32,), heads.norm.weight, heads.norm.bias)
    twice = F.layer_norm(once, (32,), heads.norm.weight, heads.norm.bias)
    stage = heads(hidden, boxes)
    torch.testing.assert_close(stage.cls_logits, heads.classify(twice))
    torch.testing.assert_close(stage.mask_embeds, heads.embed_mask(twice))
    torch.testing.assert_close(stage.boxes, (heads.locate(once) + boxes.logit()).sigmoid())
    assert not torch.allclose(stage.cls_logits, heads.classify(once), atol=1e-2)


def test_initial_queries_are_normalised_once_and_keep_their_boxes(heads):
    content, boxes = 3 * torch.randn(2, 7, 32) + 1, torch.rand(2, 7, 4)
    stage = heads.initial_stage(content, boxes)
    torch.testing.assert_close(stage.cls_logits, heads.classify(heads.norm(content)))
    torch.testing.assert_close(stage.mask_embeds, heads.embed_mask(heads.norm(content)))
    assert torch.equal(stage.boxes, boxes)


def test_refine_uses_the_recorded_inverse_sigmoid(heads, golden_ops):
    want = golden_ops['inverse_sigmoid']
    boxes = want['input'].view(1, 4, 4)
    with torch.no_grad():
        for parameter in heads.locate.parameters():
            parameter.zero_()
    got = heads.refine(boxes, torch.randn(1, 4, 32))
    torch.testing.assert_close(got.flatten(), want['output'].sigmoid())


def test_fresh_heads_keep_boxes_and_know_the_prior():
    heads = PredictionHeads(32, 5, 16, prior_prob=0.02)
    heads.init_weights()
    boxes, queries = 0.1 + 0.8 * torch.rand(1, 3, 4), torch.randn(1, 3, 32)
    torch.testing.assert_close(heads.refine(boxes, queries), boxes)
    torch.testing.assert_close(heads.classify(torch.zeros(1, 32)).sigmoid(), torch.full((1, 5), 0.02))


def test_without_prior_the_class_bias_is_zero():
    heads = PredictionHeads(32, 6, 16, prior_prob=None)
    heads.init_weights()
    assert not heads.classify.bias.any()


def test_boxes_stay_float32_under_autocast(heads):
    boxes, hidden = torch.rand(1, 3, 4), torch.randn(1, 3, 32)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        stage = heads(hidden, boxes)
    assert stage.boxes.dtype == torch.float32
    assert stage.cls_logits.dtype == torch.bfloat16


def test_no_masks():
    heads = PredictionHeads(32, 5, None, None)
    assert heads(torch.randn(1, 3, 32), torch.rand(1, 3, 4)).mask_embeds is None
    assert not any('mask' in name for name, _ in heads.named_parameters())


def test_masks_are_dot_products_with_the_features():
    embeds, features = torch.randn(2, 3, 16), torch.randn(2, 16, 4, 6)
    masks = decode_masks(embeds, features)
    assert masks.shape == (2, 3, 4, 6)
    torch.testing.assert_close(masks[1, 2, 3, 5], embeds[1, 2] @ features[1, :, 3, 5])


def test_hooks_see_the_prediction_of_a_layer(heads):
    """And so do compilers, profilers and wrappers that shard modules."""
    seen = []
    heads.register_forward_hook(lambda module, args, output: seen.append(output))
    stage = heads(torch.randn(1, 3, 32), torch.rand(1, 3, 4))
    assert seen == [stage]
