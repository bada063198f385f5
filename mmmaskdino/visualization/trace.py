"""What happens inside the model while it predicts for one image, recorded for pictures."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from mmengine.model import BaseModel
from torch import Tensor

from mmmaskdino.models.layers.deformable_attention import DeformableAttention
from mmmaskdino.models.layers.prediction_heads import decode_masks
from mmmaskdino.models.utils import head_of
from mmmaskdino.ops.deform_attn import LevelTensors
from mmmaskdino.structures import Memory, QueryInit, Shape, StagePrediction


class Stage(NamedTuple):
    """What one stage predicts for all queries."""

    name: str
    scores: Tensor
    """(num_queries, num_classes) probabilities."""
    boxes: Tensor
    """(num_queries, 4) cxcywh in [0, 1] of the canvas."""
    mask_logits: Tensor | None
    """(num_queries, h, w) on a quarter of the canvas."""


class SelectedTokens(NamedTuple):
    """The encoder's tokens that became queries, in the order of the queries."""

    centers: Tensor
    """(num_queries, 2), (x, y) in [0, 1] of the canvas."""
    levels: Tensor
    """(num_queries,) int64, 0 is the finest."""


class SamplingPoints(NamedTuple):
    """Where the queries of one decoder layer look."""

    references: Tensor
    """(num_queries, 4) cxcywh boxes that the points are placed around."""
    locations: Tensor
    """(num_queries, num_heads, num_levels, num_points, 2), (x, y) in [0, 1] of the canvas."""
    weights: Tensor
    """(num_queries, num_heads, num_levels, num_points); of each head they add up to 1."""


class Trace(NamedTuple):
    """The prediction for one image, from the encoder's selection to the last decoder layer."""

    stages: list[Stage]
    points: list[SamplingPoints]
    """One per decoder layer."""
    tokens: SelectedTokens | None
    """None with learned queries."""


class TraceRecorder:
    """Records a model while it predicts for one image.

    >>> with TraceRecorder(model) as recorder:
    ...     model.test_step(data)
    >>> recorder.trace.stages[-1].boxes

    Args:
        model (BaseModel): A detector or segmentor with a head of this package.
    """

    def __init__(self, model: BaseModel) -> None:
        self._head = head_of(model)
        self._stack = ExitStack()
        self._trace: Trace | None = None
        self._mask_features: Tensor | None = None
        self._memory: Memory | None = None
        self._start: QueryInit | None = None
        self._points: list[SamplingPoints] = []

    @property
    def trace(self) -> Trace:
        """What was recorded.

        Raises:
            RuntimeError: If the model did not predict.
        """
        if self._trace is None:
            raise RuntimeError('nothing was recorded: let the model predict inside of the with block')
        return self._trace

    def __enter__(self) -> TraceRecorder:
        head, hooks = self._head, self._stack
        query_init, decoder = head.query_init, head.decoder
        hooks.callback(query_init.register_forward_pre_hook(self._before_selection).remove)
        hooks.callback(query_init.register_forward_hook(self._after_selection).remove)
        for layer in decoder.layers:
            hooks.callback(layer.cross_attention.register_forward_pre_hook(self._look).remove)
        hooks.callback(decoder.register_forward_hook(self._after_decoder).remove)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def _before_selection(self, module: torch.nn.Module, args: tuple) -> None:
        self._memory, self._mask_features = args[0], args[1]
        if len(self._memory.tokens) != 1:
            raise ValueError(f'one image is recorded at a time, got a batch of {len(self._memory.tokens)}')
        self._points = []

    def _after_selection(self, module: torch.nn.Module, args: tuple, output: QueryInit) -> None:
        self._start = output

    def _look(self, module: DeformableAttention, args: tuple) -> None:
        self._points.append(sampling_points(module, *args))

    def _after_decoder(self, module: torch.nn.Module, args: tuple, layers: list) -> None:
        heads, start = self._head.heads, self._start
        predictions = {} if start.encoder_stage is None else {'encoder': start.encoder_stage}
        predictions['initial queries'] = heads.initial_stage(start.content, start.boxes)
        for i, layer in enumerate(layers, start=1):
            predictions[f'layer {i}'] = heads(layer.hidden_state, layer.references)
        stages = [self._stage(name, prediction) for name, prediction in predictions.items()]
        tokens = None if start.selected is None else self._tokens(start.selected[0])
        self._trace = Trace(stages, self._points, tokens)

    def _stage(self, name: str, prediction: StagePrediction) -> Stage:
        logits = prediction.cls_logits[0].float()
        scores = logits.sigmoid() if self._head.use_sigmoid else logits.softmax(-1)[:, :-1]
        masks = None
        if self._mask_features is not None:
            masks = decode_masks(prediction.mask_embeds.float(), self._mask_features.float())[0].cpu()
        return Stage(name, scores.cpu(), prediction.boxes[0].float().cpu(), masks)

    def _tokens(self, indices: Tensor) -> SelectedTokens:
        cells = [_cells(level, shape) for level, shape in enumerate(self._memory.spatial_shapes)]
        centers, levels = zip(*cells, strict=True)
        indices = indices.cpu()
        return SelectedTokens(torch.cat(centers)[indices], torch.cat(levels)[indices])


def sampling_points(
    attention: DeformableAttention, queries: Tensor, references: Tensor, memory: Memory
) -> SamplingPoints:
    """Where a deformable attention looks, for boxes as references.

    Args:
        attention (DeformableAttention): The module.
        queries (Tensor): (1, num_queries, dim), as given to it.
        references (Tensor): (1, num_queries, 4) cxcywh.
        memory (Memory): Tokens, of which the shapes are needed.

    Returns:
        SamplingPoints: Of the one image.
    """
    levels = LevelTensors.of(memory.spatial_shapes, queries)
    fields = references.float(), *attention.sampling_points(queries, references, levels)
    return SamplingPoints(*(field[0].detach().cpu() for field in fields))


def _cells(level: int, shape: Shape) -> tuple[Tensor, Tensor]:
    """Centres (h * w, 2) in [0, 1] and level (h * w,) of the cells of a level."""
    h, w = shape
    y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing='ij')
    return torch.stack([x, y], -1).flatten(0, 1), torch.full((h * w,), level)
