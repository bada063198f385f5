"""What is recorded is what the model computes."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmseg.structures import SegDataSample

from mmmaskdino.models.layers.prediction_heads import decode_masks
from mmmaskdino.ops.deform_attn import sample_grid
from mmmaskdino.structures import Memory
from mmmaskdino.visualization.trace import TraceRecorder, sampling_points


@torch.no_grad()
def test_last_stage_is_the_prediction(recorded):
    model, inputs, sample, trace = recorded
    prediction, features = model._forward(inputs, [sample])
    last = trace.stages[-1]
    assert torch.allclose(last.boxes, prediction.boxes[0], atol=1e-6)
    assert torch.allclose(last.scores, prediction.cls_logits[0].sigmoid(), atol=1e-6)
    assert torch.allclose(last.mask_logits, decode_masks(prediction.mask_embeds, features)[0], atol=1e-4)


def test_stages_follow_one_another(recorded):
    *_, trace = recorded
    assert [stage.name for stage in trace.stages] == ['encoder', 'initial queries', 'layer 1', 'layer 2', 'layer 3']
    assert len(trace.points) == 3
    # Each layer starts from boxes; the first from those of the encoder's masks, whose maps have 32 x 24 cells.
    assert torch.equal(trace.points[0].references, trace.stages[1].boxes)
    assert not torch.equal(trace.stages[0].boxes, trace.stages[1].boxes)
    half_cells = trace.stages[1].boxes * torch.tensor([64, 48, 64, 48])
    assert torch.allclose(half_cells, half_cells.round(), atol=1e-3)
    assert not torch.equal(trace.points[1].references, trace.points[0].references)


def test_tokens_lie_in_the_image_and_are_different(recorded):
    *_, trace = recorded
    centers, levels = trace.tokens
    assert len(centers) == len(levels) == len(trace.stages[0].boxes) == 30
    assert (centers <= torch.tensor([120 / 128, 80 / 96]) + 1e-6).all()
    assert len(torch.cat([centers, levels[:, None]], 1).unique(dim=0)) == 30
    for level, stride in enumerate((8, 16, 32)):
        cells = centers[levels == level] * torch.tensor([128, 96]) / stride - 0.5
        assert torch.allclose(cells, cells.round(), atol=1e-4)


@torch.no_grad()
def test_sampling_points_are_those_of_the_attention(recorded):
    attention = recorded[0].panoptic_head.decoder.layers[0].cross_attention
    shapes = ((12, 16), (6, 8), (3, 4))
    memory = Memory(torch.randn(1, 252, 96), shapes, None)
    queries, boxes = torch.randn(1, 5, 96), torch.rand(1, 5, 4)
    _, locations, weights = sampling_points(attention, queries, boxes, memory)
    assert torch.allclose(weights.sum((2, 3)), torch.ones(5, attention.num_heads))
    value = attention.value_proj(memory.tokens).unflatten(-1, (attention.num_heads, -1))
    expected = attention.output_proj(sample_grid(value, shapes, locations[None], weights[None]))
    assert torch.allclose(attention(queries, boxes, memory), expected, atol=1e-5)


def test_learned_queries_are_not_tokens(make_small_model):
    model = make_small_model('maskdino_r18_shapes_semantic')
    with TraceRecorder(model) as recorder:
        model.predict(torch.randn(1, 3, 64, 96), [SegDataSample(metainfo=dict(ori_shape=(64, 96)))])
    assert recorder.trace.tokens is None
    assert [stage.name for stage in recorder.trace.stages][:2] == ['initial queries', 'layer 1']


@torch.no_grad()
def test_refined_candidates_are_tokens(make_small_model):
    """Each query still has its token; the encoder's stage is not of the same queries, so it is not shown."""
    model = make_small_model('options/maskdino_r18_shapes_instance_predicted-boxes_de-imbalanced-start')
    sample = DetDataSample(metainfo=dict(batch_input_shape=(64, 96), img_shape=(64, 96), ori_shape=(64, 96)))
    with TraceRecorder(model) as recorder:
        model.predict(torch.randn(1, 3, 64, 96), [sample])
    assert len(recorder.trace.tokens.centers) == len(recorder.trace.stages[0].boxes) == 30
    assert [stage.name for stage in recorder.trace.stages][:2] == ['initial queries', 'layer 1']


def test_nothing_stays_behind(recorded):
    model, inputs, sample, _ = recorded
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    recorder = TraceRecorder(model)
    with pytest.raises(RuntimeError, match='nothing was recorded'):
        _ = recorder.trace


def test_batches_are_rejected(recorded):
    model, inputs, sample, _ = recorded
    with TraceRecorder(model), pytest.raises(ValueError, match='one image is recorded at a time'):
        model.predict(inputs.repeat(2, 1, 1, 1), [sample, sample])
