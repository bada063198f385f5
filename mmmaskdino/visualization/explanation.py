"""Pictures of what happens inside the model: stages, sampling points, selected tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from mmmaskdino.plain_text import without_formulas
from mmmaskdino.structures import Shape

from .trace import Stage, Trace

COLOR = 'yellow'  # of the chosen object
LEVEL_COLORS = ('tab:cyan', 'tab:orange', 'tab:red', 'tab:purple', 'tab:olive')
NUM_COLUMNS = 4
PANEL_WIDTH = 3.2  # inches


class Explanation:
    """Draws a trace on its image.

    Args:
        image (np.ndarray): (h, w, 3) uint8, RGB.
        trace (Trace): What happened while the model predicted for it.
        frame (tuple[Shape, Shape]): (height, width) of the canvas, and of the image in its upper left corner.
        classes (Sequence[str]): Class names.
    """

    def __init__(self, image: np.ndarray, trace: Trace, frame: tuple[Shape, Shape], classes: Sequence[str]) -> None:
        self._image, self._trace, self._frame, self._classes = image, trace, frame, list(classes)

    def best_query(self, rank: int = 0, num_classes: int | None = None) -> int:
        """The query with the best score of the last stage, or the one of a rank.

        Args:
            rank (int): 0 for the best.
            num_classes (int | None): Only the scores of the first classes count, those of things; None: of all.

        Raises:
            ValueError: If there are fewer queries.
        """
        scores = self._trace.stages[-1].scores[:, :num_classes].amax(-1)
        if not 0 <= rank < len(scores):
            raise ValueError(f'there are {len(scores)} queries, so the rank must be 0 to {len(scores) - 1}, got {rank}')
        return int(scores.argsort(descending=True)[rank])

    def query_at(self, x: float, y: float) -> int:
        """The best query whose last mask (or box, without masks) covers a pixel of the image.

        Raises:
            ValueError: If the pixel lies outside the image or nothing covers it.
        """
        height, width = self._image.shape[:2]
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f'({x:g}, {y:g}) lies outside the image of {width} x {height} pixels')
        stage = self._trace.stages[-1]
        for query in stage.scores.amax(-1).argsort(descending=True).tolist():
            if self._covers(stage, query, x, y):
                return query
        raise ValueError(f'no query covers the pixel ({x:g}, {y:g})')

    def layers(self, query: int) -> Figure:
        """Mask, box and class of one query after each stage."""
        stages = self._trace.stages
        figure, panels = self._panels(len(stages))
        for panel, stage in zip(panels, stages, strict=True):
            score, label = stage.scores[query].max(-1)
            panel.set_title(f'{stage.name}: {without_formulas(self._classes[label])} {score:.2f}', fontsize=9)
            self._draw_mask(panel, stage, query)
            self._draw_box(panel, stage.boxes[query], COLOR)
        return figure

    def sampling_points(self, query: int) -> Figure:
        """Where one query looks in each decoder layer; a larger point weighs more, a colour is a level."""
        layers = self._trace.points
        figure, panels = self._panels(len(layers))
        for number, (panel, layer) in enumerate(zip(panels, layers, strict=True), start=1):
            panel.set_title(f'layer {number}', fontsize=9)
            self._draw_box(panel, layer.references[query], COLOR)
            for level in range(layer.locations.shape[2]):
                x, y = self._pixels(layer.locations[query, :, level]).flatten(0, 1).T
                weights = layer.weights[query, :, level].flatten()
                sizes = 4 + 200 * weights
                color = LEVEL_COLORS[level % len(LEVEL_COLORS)]
                panel.scatter(x, y, s=sizes, c=color, alpha=0.7, linewidths=0, label=f'level {level + 1}')
        _legend(figure, panels[0])
        return figure

    def tokens(self, num_masks: int = 10) -> Figure:
        """The encoder's tokens that became queries, and the masks and boxes that the best of them predict at once.

        Raises:
            ValueError: If the model learns its queries.
        """
        if self._trace.tokens is None:
            raise ValueError('the model learns its queries (LearnedQueries), so no tokens are selected')
        encoder = self._trace.stages[0]
        best = encoder.scores.amax(-1).argsort(descending=True)[:num_masks].tolist()
        figure, panels = self._panels(3)
        for panel, title in zip(panels, ('selected tokens', 'their masks', 'their boxes'), strict=True):
            panel.set_title(title if panel is panels[0] else f'{title}, the best {len(best)}', fontsize=9)
        centers, levels = self._trace.tokens
        for level in levels.unique().tolist():
            x, y = self._pixels(centers[levels == level]).T
            color = LEVEL_COLORS[level % len(LEVEL_COLORS)]
            panels[0].scatter(x, y, s=12 * (level + 1), c=color, alpha=0.8, linewidths=0, label=f'level {level + 1}')
        for i, query in enumerate(best):
            color = f'C{i % 10}'
            self._draw_mask(panels[1], encoder, query, color)
            self._draw_box(panels[2], encoder.boxes[query], color)
        _legend(figure, panels[0])
        return figure

    def _panels(self, number: int) -> tuple[Figure, list[Axes]]:
        """A figure with the image in each of its panels."""
        height, width = self._image.shape[:2]
        columns = min(number, NUM_COLUMNS)
        rows = math.ceil(number / columns)
        size = (columns * PANEL_WIDTH, rows * (PANEL_WIDTH * height / width + 0.35) + 0.3)
        figure = Figure(figsize=size, dpi=120, layout='constrained')
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for panel in panels:
            panel.set_axis_off()
        for panel in panels[:number]:
            panel.imshow(self._image, extent=(0, width, height, 0))
            panel.set_xlim(0, width)
            panel.set_ylim(height, 0)
        return figure, panels[:number]

    def _draw_box(self, panel: Axes, box: Tensor, color: str) -> None:
        corners = torch.stack([box[:2] - box[2:] / 2, box[:2] + box[2:] / 2])
        (x1, y1), (x2, y2) = self._pixels(corners).tolist()
        panel.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, linewidth=1.5))

    def _draw_mask(self, panel: Axes, stage: Stage, query: int, color: str = COLOR) -> None:
        if stage.mask_logits is None:
            return
        mask = self._mask(stage, query)
        height, width = mask.shape
        if mask.any() and not mask.all():
            x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
            panel.contourf(x, y, mask, levels=[0.5, 1.5], colors=[color], alpha=0.45)

    def _mask(self, stage: Stage, query: int) -> np.ndarray:
        """(h, w) bool at the size of the image."""
        (canvas_height, canvas_width), (height, width) = self._frame
        logits = stage.mask_logits[query].numpy()
        logits = cv2.resize(logits, (canvas_width, canvas_height), interpolation=cv2.INTER_LINEAR)[:height, :width]
        return cv2.resize(logits, self._image.shape[1::-1], interpolation=cv2.INTER_LINEAR) > 0

    def _covers(self, stage: Stage, query: int, x: float, y: float) -> bool:
        if stage.mask_logits is not None:
            return bool(self._mask(stage, query)[int(y), int(x)])
        box = stage.boxes[query]
        (x1, y1), (x2, y2) = self._pixels(torch.stack([box[:2] - box[2:] / 2, box[:2] + box[2:] / 2])).tolist()
        return x1 <= x < x2 and y1 <= y < y2

    def _pixels(self, points: Tensor) -> Tensor:
        """Points (..., 2), (x, y) in [0, 1] of the canvas, in pixels of the image."""
        canvas, frame = self._frame
        scale = [c / f * o for c, f, o in zip(canvas, frame, self._image.shape[:2], strict=True)]
        return points * torch.tensor(scale[::-1])


def _legend(figure: Figure, panel: Axes) -> None:
    handles, labels = panel.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc='outside lower center', ncols=len(labels), fontsize=8)
    for handle in legend.legend_handles:
        handle.set_sizes([25])
