"""mmdet's visualizer, also for results without segments."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from matplotlib.transforms import Bbox
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import VISUALIZERS
from mmdet.structures.mask import bitmap_to_polygon
from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette
from mmengine.structures import InstanceData, PixelData
from mmengine.visualization import Visualizer

from mmmaskdino.plain_text import without_formulas
from mmmaskdino.results import mask_array

if TYPE_CHECKING:
    from matplotlib.text import Text

_GENERATOR = threading.Lock()
MIN_FONT_SIZE = 9
MAX_OVERLAP = 0.2  # of texts, as a share of the smaller
MAX_HIDDEN = 0.5  # of an object's box, by a text
USUAL_SIDE = 640  # pixels; beyond it, letters and lines grow with the image


class _DrawsInEveryProcess(DetLocalVisualizer):
    """mmengine lets the first of several processes alone draw, and gives the others None.

    That suits a log. Where processes share images, each draws its own; `add_...` is left to the first one.
    """

    dataset_meta = property(*(x.__wrapped__ for x in (Visualizer.dataset_meta.fget, Visualizer.dataset_meta.fset)))
    set_image, get_image = Visualizer.set_image.__wrapped__, Visualizer.get_image.__wrapped__
    draw_points, draw_lines = Visualizer.draw_points.__wrapped__, Visualizer.draw_lines.__wrapped__
    draw_texts, draw_circles = Visualizer.draw_texts.__wrapped__, Visualizer.draw_circles.__wrapped__
    draw_bboxes, draw_polygons = Visualizer.draw_bboxes.__wrapped__, Visualizer.draw_polygons.__wrapped__
    draw_binary_masks = Visualizer.draw_binary_masks.__wrapped__


@VISUALIZERS.register_module()
class MaskDINOVisualizer(_DrawsInEveryProcess):
    """Draws boxes, masks and panoptic segments, the same for the same results; without results an image stays as it is.

    Args: as ``DetLocalVisualizer``.
    """

    _boxes: Sequence = ()  # (n, 4) xyxy in pixels of the objects that are being drawn

    def draw_instances(self, image: np.ndarray, instances: InstanceData) -> np.ndarray:
        """Draw boxes, masks, class names and, if there are any, scores.

        Args:
            image: (h, w, 3) uint8, RGB.
            instances: Annotated or predicted objects: bboxes (n, 4) xyxy in pixels, labels (n,), optionally masks
                (n, h, w), or a list of their run-length codes, and scores (n,); on the CPU.

        Returns:
            The drawing, (h, w, 3) uint8, RGB.
        """
        return self._draw_instances(
            image, instances, self.dataset_meta.get('classes'), self.dataset_meta.get('palette')
        )

    def draw_panoptic(self, image: np.ndarray, panoptic_seg: PixelData) -> np.ndarray:
        """Draw panoptic segments and their class names.

        Args:
            image: (h, w, 3) uint8, RGB.
            panoptic_seg: sem_seg (1, h, w) of label + 1000 * instance, or num_classes where nothing is; on the CPU.

        Returns:
            The drawing, (h, w, 3) uint8, RGB.
        """
        meta = self.dataset_meta
        return self._draw_panoptic_seg(image, panoptic_seg, meta['classes'], meta.get('palette'))

    def _draw_instances(
        self, image: np.ndarray, instances: InstanceData, classes: Sequence[str] | None, palette: Sequence | None
    ) -> np.ndarray:
        if not len(instances):
            return image
        if isinstance(palette, Sequence) and not isinstance(palette, str):
            palette = [tuple(color) for color in palette]  # lists in a config; mmengine takes those for several colours
        instances = instances.new()  # shares the data, but not what is set here
        if isinstance(instances.get('masks'), list):
            instances.masks = torch.from_numpy(mask_array(instances.masks))
        if 'bboxes' in instances:
            instances.bboxes = _clip(instances.bboxes, image)
            self._boxes = instances.bboxes.tolist()
        # The base class varies the masks' colours at random: equal pictures for equal results, and the generator that
        # a training run may depend on is left alone.
        with _GENERATOR:  # all threads have one
            state = np.random.get_state()
            np.random.seed(0)
            try:
                return super()._draw_instances(image, instances, classes, palette)
            finally:
                np.random.set_state(state)
                self._boxes = ()

    def _draw_panoptic_seg(
        self, image: np.ndarray, panoptic_seg: PixelData, classes: Sequence[str] | None, palette: Sequence | None
    ) -> np.ndarray:
        # The base class fails without segments, and writes a name at the centroid, which may lie on another segment.
        segments = np.asarray(panoptic_seg.sem_seg)[0]
        ids = np.unique(segments[segments % INSTANCE_OFFSET != len(classes)])
        if not len(ids):
            return image
        masks = segments == ids[:, None, None]
        labels = ids % INSTANCE_OFFSET
        colors = get_palette(self.mask_color or palette, len(classes))
        self.set_image(image)
        outlines = [contour for mask in masks for contour in bitmap_to_polygon(mask)[0]]
        self.draw_polygons(outlines, edge_colors='w', alpha=self.alpha)
        self.draw_binary_masks(masks, colors=[colors[label] for label in labels], alphas=self.alpha)
        for mask, label in zip(masks, labels, strict=True):
            self.draw_texts(
                classes[label],
                _innermost_point(mask),
                font_sizes=MIN_FONT_SIZE,
                colors='w',
                vertical_alignments='center',
                horizontal_alignments='center',
                bboxes=[dict(facecolor='black', alpha=0.8, pad=0.7, edgecolor='none')],
            )
        return self.get_image()

    def draw_texts(self, texts: Any, positions: Any, font_sizes: Any = None, **kwargs: Any) -> MaskDINOVisualizer:
        """Draw texts as they stand (no formula between `$`), inside the image, large enough to be read.

        A text that would cover much of an earlier one, or most of an object's box, stands above or below, or is left
        out where that is no better: of many small objects side by side, nothing could be seen.

        Args: as ``Visualizer.draw_texts``; sizes are for an image of `USUAL_SIDE` pixels, on larger ones they grow.
        """
        if font_sizes is not None:
            font_sizes = (np.maximum(font_sizes, MIN_FONT_SIZE) * self._factor).tolist()
        texts = [without_formulas(text) for text in ([texts] if isinstance(texts, str) else texts)]
        drawn = [self._extent(text) for text in self.ax_save.texts]
        super().draw_texts(texts, positions, font_sizes=font_sizes, **kwargs)
        for text in self.ax_save.texts[-len(texts) :]:
            self._move_inside(text)
            y, extent = text.get_position()[1], self._extent(text)
            below = max((y1 for _, _, _, y1 in self._hidden(extent)), default=y + extent.height)
            for place in (y, y - extent.height - 1, below + 1):
                text.set_y(place)
                self._move_inside(text)
                extent = self._extent(text)
                if not self._hidden(extent) and not any(_share(extent, other) > MAX_OVERLAP for other in drawn):
                    drawn.append(extent)
                    break
            else:
                text.remove()
        return self

    def draw_polygons(self, polygons: Any, *args: Any, line_widths: Any = 2, **kwargs: Any) -> MaskDINOVisualizer:
        """Draw outlines and boxes, whose lines grow with the image.

        Args: as ``Visualizer.draw_polygons``.
        """
        line_widths = (np.asarray(line_widths) * self._factor).tolist()
        return super().draw_polygons(polygons, *args, line_widths=line_widths, **kwargs)

    def _hidden(self, extent: Bbox) -> list[Sequence[float]]:
        """Boxes of the objects that a text there would hide for the most part."""
        hidden = []
        for box in self._boxes:
            x0, y0, x1, y1 = box
            place = Bbox([[x0, self.height - y1], [x1, self.height - y0]])  # matplotlib's pixels count upwards
            if _shared(extent, place) > MAX_HIDDEN * place.width * place.height:
                hidden.append(box)
        return hidden

    @property
    def _factor(self) -> float:
        """By how much letters and lines are larger than usual."""
        return max(1.0, (self.width * self.height) ** 0.5 / USUAL_SIDE)

    def _move_inside(self, text: Text) -> None:
        """Make a text smaller where it is wider than the image, and move it where it reaches out."""
        extent = self._extent(text)
        if extent.width > self.width:
            text.set_size(text.get_size() * self.width / extent.width * 0.98)
            extent = self._extent(text)
        x, y = text.get_position()
        # matplotlib's pixels count upwards, those of the image downwards.
        x += max(0, -extent.x0) or min(0, self.width - extent.x1)
        y += max(0, extent.y1 - self.height) or min(0, extent.y0)
        text.set_position((x, y))

    def _extent(self, text: Text) -> Bbox:
        """Where a text with its background lies, in pixels."""
        renderer = self.fig_save.canvas.get_renderer()
        patch = text.get_bbox_patch()
        if patch is None:
            return text.get_window_extent(renderer)
        text.update_bbox_position_size(renderer)
        return patch.get_window_extent(renderer)


def _shared(one: Bbox, other: Bbox) -> float:
    """Area that two rectangles have in common."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(width, 0) * max(height, 0)


def _share(one: Bbox, other: Bbox) -> float:
    """Which share of the smaller rectangle lies in the other."""
    return _shared(one, other) / max(min(one.width * one.height, other.width * other.height), 1e-6)


def _clip(bboxes: Any, image: np.ndarray) -> torch.Tensor:
    """Boxes (n, 4) cut at the border: for one that reaches out of it the whole picture would shrink."""
    h, w = image.shape[:2]
    bboxes = torch.as_tensor(getattr(bboxes, 'tensor', bboxes))
    return bboxes.clamp(min=0).minimum(bboxes.new_tensor([w, h, w, h]) - 1)


def _innermost_point(mask: np.ndarray) -> np.ndarray:
    """The (x, y) of the pixel that is farthest from the border of the mask."""
    distances = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)
    y, x = np.unravel_index(distances.argmax(), distances.shape)
    return np.array([x - 1, y - 1], np.float32)
