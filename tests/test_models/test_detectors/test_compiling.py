"""The parts that CompileHook compiles, as one graph each; and activation checkpointing."""

import copy

import torch
from mmengine.utils import digit_version

# The tracer of old versions knows too little of Python: there the parts are several graphs.
ONE_GRAPH = digit_version(torch.__version__) >= digit_version('2.4')


def losses_and_gradients(head, features, targets):
    torch.manual_seed(1)  # the same points and noise
    losses = head.criterion(head.forward_train(features, targets), targets)
    sum(losses.values()).backward()
    gradients = {name: parameter.grad for name, parameter in head.named_parameters() if parameter.grad is not None}
    return losses | gradients


def assert_same(head, changed, features, targets):
    expected, got = (losses_and_gradients(h, features, targets) for h in (head, changed))
    assert set(got) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_one_graph_each_with_the_same_results(make_head, make_features, make_targets):
    head = make_head()
    compiled = copy.deepcopy(head)
    for part in (compiled.pixel_decoder, compiled.decoder):
        part.compile(backend='eager', fullgraph=ONE_GRAPH)
    assert_same(head, compiled, make_features(), make_targets([3, 1]))


def test_backbone_is_one_graph(small_config, make_model):
    backbone = make_model(small_config('maskdino_r50_coco_instance')).eval().backbone
    images = torch.randn(1, 3, 64, 96)
    expected = backbone(images)
    backbone.compile(backend='eager', fullgraph=ONE_GRAPH)
    for got, want in zip(backbone(images), expected, strict=True):
        torch.testing.assert_close(got, want)


def test_checkpointing_stores_less_and_changes_nothing(make_head, make_features, make_targets):
    plain = make_head()
    saving = copy.deepcopy(plain)
    saving.pixel_decoder.with_cp = saving.decoder.with_cp = True
    features, targets = make_features(), make_targets([3, 1])
    assert_same(plain, saving, features, targets)
    stored = []
    for head in (plain, saving):
        kept = {}  # the tensors themselves, so that no other takes the place of one
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, kept=kept: kept.setdefault(x.untyped_storage().data_ptr(), x), lambda x: x
        ):
            head.pixel_decoder(features)
        stored.append(sum(x.untyped_storage().nbytes() for x in kept.values()))
    assert stored[1] < 0.7 * stored[0]


def test_checkpointing_is_reachable_by_config(make_head):
    head = make_head({'pixel_decoder.with_cp': True, 'decoder.with_cp': True})
    assert head.pixel_decoder.with_cp and head.decoder.with_cp
