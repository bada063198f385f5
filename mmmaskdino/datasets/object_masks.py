"""Masks of objects that stay what was annotated until the final size, and are drawn once, there."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import mmcv
import numpy as np
import torch
from mmdet.structures.bbox import HorizontalBoxes, get_box_type
from mmdet.structures.mask import BitmapMasks
from scipy.ndimage import find_objects
from torch import Tensor

from mmmaskdino.datasets.object_shapes import Bitmap, Drawn, PlacedObject, Segmentation, place_part, read_object


class ObjectMasks(BitmapMasks):
    """Masks of objects that mmdet's transforms move like its `BitmapMasks`, and that are drawn when somebody looks.

    Flips, resizes, crops, padding and shifts are written down for each object and done once, together. A polygon then
    becomes a mask at the final size; what is given by pixels is read about the centres of the final pixels. mmdet's
    own masks become bitmaps at the original size, and each resize reads their upper left cells: half a pixel off.

    Args:
        masks: Of each object COCO's polygons or run lengths (RLE), or a bitmap (height, width) of 0 and 1; mixed at
            will. An array (num_objects, height, width) does too.
        height: Of the image in pixels.
        width: Of the image in pixels.
        annotation_ids: Of each object, for messages; they stay with their objects.

    Raises:
        ValueError: A mask is none of these, or of another size; the message names its annotation.
    """

    def __init__(
        self,
        masks: Sequence[Segmentation] | np.ndarray,
        height: int,
        width: int,
        annotation_ids: Sequence[Hashable] | None = None,
    ) -> None:
        ids = [None] * len(masks) if annotation_ids is None else annotation_ids
        self._set(
            [read_object(mask, name, height, width) for mask, name in zip(masks, ids, strict=True)], height, width
        )

    @classmethod
    def of_objects(cls, objects: Sequence[PlacedObject], height: int, width: int) -> ObjectMasks:
        """Masks of objects that are placed on a canvas of (height, width) pixels."""
        masks = cls.__new__(cls)
        masks._set(objects, height, width)
        return masks

    def _set(self, objects: Sequence[PlacedObject], height: int, width: int) -> None:
        self._objects, self.height, self.width = tuple(objects), int(height), int(width)
        self._drawn: list[Drawn] | None = None
        self._array: np.ndarray | None = None  # what `masks` has handed out

    @property
    def objects(self) -> tuple[PlacedObject, ...]:
        """What the masks are made of; a bitmap of the canvas where somebody has written into `masks`."""
        if self._array is None:
            return self._objects
        changed = (self._array != self._to_tensor(self._draw(self._objects), torch.uint8).numpy()).any(axis=(1, 2))
        return tuple(
            read_object(self._array[i], placed.annotation_id, self.height, self.width) if changed[i] else placed
            for i, placed in enumerate(self._objects)
        )

    @property
    def drawn(self) -> list[Drawn]:
        """Each object on the canvas."""
        if self._array is not None:
            return self._draw(self.objects)
        if self._drawn is None:
            self._drawn = self._draw(self._objects)
        return self._drawn

    def _draw(self, objects: Sequence[PlacedObject]) -> list[Drawn]:
        return [shape.draw(x, y, self.height, self.width) for shape, x, y, _ in objects]

    @property
    def annotation_ids(self) -> list[Hashable]:
        """Of each object the id of its annotation or segment; None where it is unknown."""
        return [placed.annotation_id for placed in self._objects]

    @property
    def masks(self) -> np.ndarray:
        """(num_objects, height, width) uint8, 0 or 1, as in mmdet.

        Some of its transforms write into them (`RandomErasing`) or assign others (`CopyPaste`).
        """
        if self._array is None:
            self._array = self.to_ndarray()
        return self._array

    @masks.setter
    def masks(self, masks: np.ndarray) -> None:
        ids = self.annotation_ids if len(masks) == len(self) else None
        self._set(ObjectMasks(masks, *masks.shape[1:], ids).objects, *masks.shape[1:])

    def remaining(self) -> np.ndarray:
        """(num_objects,) bool: whether anything of each object lies on the canvas, be it too small for a pixel."""
        return np.array([drawn.box is not None for drawn in self.drawn], dtype=bool)

    def rasterized(self) -> ObjectMasks:
        """The same masks as bitmaps of their final size: what they were made of is no longer carried along."""
        objects = [
            PlacedObject(Bitmap(drawn.bitmap), *place_part(drawn.part), annotation_id)
            for drawn, annotation_id in zip(self.drawn, self.annotation_ids, strict=True)
        ]
        return self.of_objects(objects, self.height, self.width)

    def __len__(self) -> int:
        return len(self._objects)

    def __getitem__(self, index: Any) -> ObjectMasks:
        objects = self.objects
        chosen = np.atleast_1d(np.arange(len(self))[index])
        return self.of_objects([objects[i] for i in chosen], self.height, self.width)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.to_ndarray())

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_masks={len(self)}, height={self.height}, width={self.width})'

    def rescale(self, scale: float | tuple[float, float], interpolation: str = 'nearest') -> ObjectMasks:
        """See mmdet's `BaseInstanceMasks`; the interpolation, here and below, is that of this class."""
        width, height = mmcv.rescale_size((self.width, self.height), scale)
        return self.resize((height, width))

    def resize(self, out_shape: tuple[int, int], interpolation: str = 'nearest') -> ObjectMasks:
        """See mmdet's `BaseInstanceMasks`."""
        factors = out_shape[1] / self.width, out_shape[0] / self.height
        return self._moved(lambda x: x.resized(factors[0]), lambda y: y.resized(factors[1]), out_shape)

    def flip(self, flip_direction: str = 'horizontal') -> ObjectMasks:
        """See mmdet's `BaseInstanceMasks`."""
        if flip_direction not in ('horizontal', 'vertical', 'diagonal'):
            raise ValueError(f'flip_direction must be horizontal, vertical or diagonal, got {flip_direction!r}')
        return self._moved(
            lambda x: x if flip_direction == 'vertical' else x.flipped(self.width),
            lambda y: y if flip_direction == 'horizontal' else y.flipped(self.height),
        )

    def crop(self, bbox: np.ndarray) -> ObjectMasks:
        """See mmdet's `BaseInstanceMasks`."""
        x1, x2 = (int(value) for value in np.clip(bbox[0::2], 0, self.width))
        y1, y2 = (int(value) for value in np.clip(bbox[1::2], 0, self.height))
        return self._moved(
            lambda x: x.cropped(x1, x2, self.width),
            lambda y: y.cropped(y1, y2, self.height),
            (max(y2 - y1, 1), max(x2 - x1, 1)),
        )

    def pad(self, out_shape: tuple[int, int], pad_val: int = 0) -> ObjectMasks:
        """See mmdet's `BaseInstanceMasks`."""
        if pad_val:
            return self._wrapped(super().pad(out_shape, pad_val))
        return self.of_objects(self.objects, *out_shape)

    def expand(self, expanded_h: int, expanded_w: int, top: int, left: int) -> ObjectMasks:
        """See mmdet's `BaseInstanceMasks`."""
        return self._moved(
            lambda x: x.cut(0, self.width).shifted(left),
            lambda y: y.cut(0, self.height).shifted(top),
            (expanded_h, expanded_w),
        )

    def translate(
        self,
        out_shape: tuple[int, int],
        offset: float | tuple[float, float],
        direction: str = 'horizontal',
        border_value: int = 0,
        interpolation: str = 'bilinear',
    ) -> ObjectMasks:
        """See mmdet's `BaseInstanceMasks`."""
        if border_value:
            return self._wrapped(super().translate(out_shape, offset, direction, border_value, interpolation))
        both = offset if isinstance(offset, tuple) else (offset, offset)
        right, down = dict(horizontal=(both[0], 0), vertical=(0, both[1]), both=both)[direction]
        return self.expand(*out_shape, top=down, left=right)

    def shear(self, *args: Any, **kwargs: Any) -> ObjectMasks:
        """See mmdet's `BaseInstanceMasks`; the masks are drawn before."""
        return self._wrapped(super().shear(*args, **kwargs))

    def rotate(self, *args: Any, **kwargs: Any) -> ObjectMasks:
        """See mmdet's `BaseInstanceMasks`; the masks are drawn before."""
        return self._wrapped(super().rotate(*args, **kwargs))

    def _wrapped(self, masks: BitmapMasks) -> ObjectMasks:
        return ObjectMasks(masks.masks, masks.height, masks.width, self.annotation_ids)

    def _moved(self, move_x: Any, move_y: Any, out_shape: tuple[int, int] | None = None) -> ObjectMasks:
        objects = [placed._replace(x=move_x(placed.x), y=move_y(placed.y)) for placed in self.objects]
        return self.of_objects(objects, *(out_shape or (self.height, self.width)))

    @property
    def areas(self) -> np.ndarray:
        """(num_objects,) number of pixels."""
        return np.array([np.count_nonzero(drawn.bitmap) for drawn in self.drawn], dtype=np.int64)

    def get_bboxes(self, dst_type: str | type = 'hbox') -> Any:
        """Boxes of what lies on the canvas.

        Args:
            dst_type: Type of boxes, as of mmdet.

        Returns:
            mmdet's boxes (num_objects, 4) in pixels: of polygons the extent of their coordinates, else that of the
            pixels, the right and lower ends exclusive; 0 0 0 0 where nothing remains.
        """
        boxes = np.array([drawn.box or (0.0,) * 4 for drawn in self.drawn], dtype=np.float32).reshape(-1, 4)
        return _as_boxes(boxes, dst_type)

    def get_extents(self) -> np.ndarray:
        """(num_objects, 4) float32 boxes xyxy of the objects in pixels, wherever they lie; nothing is drawn for it."""
        boxes = []
        for shape, x, y, _ in self.objects:
            x1, y1, x2, y2 = shape.bounds()
            (left, right), (top, bottom) = np.sort(x.place(np.array([x1, x2]))), np.sort(y.place(np.array([y1, y2])))
            boxes.append((left, top, right, bottom))
        return np.array(boxes, dtype=np.float32).reshape(-1, 4)

    def to_ndarray(self) -> np.ndarray:
        """(num_objects, height, width) uint8, 0 or 1."""
        return self.to_tensor(torch.uint8, 'cpu').numpy()

    def to_tensor(self, dtype: torch.dtype, device: torch.device | str) -> Tensor:
        """Masks on a device; what reaches it of each object is the bitmap around it.

        Args:
            dtype: Of the masks.
            device: Where they are wanted.

        Returns:
            (num_objects, height, width), 0 or 1.
        """
        return self._to_tensor(self.drawn, dtype, device)

    def _to_tensor(self, drawn: Sequence[Drawn], dtype: torch.dtype, device: torch.device | str = 'cpu') -> Tensor:
        masks = torch.zeros((len(drawn), self.height, self.width), dtype=dtype, device=device)
        if not drawn:
            return masks
        bitmaps = [one.bitmap for one in drawn]
        pixels = torch.from_numpy(np.concatenate([bitmap.ravel() for bitmap in bitmaps])).to(device, non_blocking=True)
        parts = pixels.split([bitmap.size for bitmap in bitmaps])
        for mask, part, one in zip(masks, parts, drawn, strict=True):
            mask[one.part] = part.view(one.bitmap.shape)
        return masks

    @classmethod
    def cat(cls, masks: Sequence[BitmapMasks]) -> ObjectMasks:
        """Put the objects of several together; the canvas is that of the first."""
        if not masks:
            raise ValueError('masks must be a sequence of at least one')
        ours = [m if isinstance(m, ObjectMasks) else ObjectMasks(m.masks, m.height, m.width) for m in masks]
        return cls.of_objects([placed for m in ours for placed in m.objects], masks[0].height, masks[0].width)


def segment_masks(numbers: np.ndarray, wanted: Sequence[int], annotation_ids: Sequence[Hashable]) -> ObjectMasks:
    """Masks of some segments of a map, cut out in one pass over it.

    Args:
        numbers: (h, w) integers: the number of each pixel's segment, from 1 on; 0 is void.
        wanted: Numbers of the segments; each has pixels.
        annotation_ids: Their ids.
    """
    parts = find_objects(numbers)
    objects = [
        PlacedObject(Bitmap(numbers[parts[n - 1]] == n), *place_part(parts[n - 1]), annotation_id)
        for n, annotation_id in zip(wanted, annotation_ids, strict=True)
    ]
    return ObjectMasks.of_objects(objects, *numbers.shape)


def _as_boxes(boxes: np.ndarray, dst_type: str | type) -> Any:
    """Boxes of mmdet of the wanted type."""
    _, box_type = get_box_type(dst_type)
    horizontal = HorizontalBoxes(torch.from_numpy(boxes))
    return horizontal if box_type is HorizontalBoxes else horizontal.convert_to(dst_type)
