"""Objects as they are annotated, and how they are drawn."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import shapely
from pycocotools import mask as coco_mask

from mmmaskdino.datasets.placement import Axis, pick

MIN_POLYGON_NUMBERS = 6  # three points
Segmentation = list | dict | np.ndarray


class Drawn(NamedTuple):
    """An object on the canvas.

    Attributes:
        bitmap: (h, w) uint8, 0 or 1: the part of the canvas around it; without pixels if it is too small for one.
        left: Column of the canvas at which the bitmap begins.
        top: Row of the canvas at which it begins.
        box: xyxy in pixels of the canvas; None if nothing of the object lies on it.
    """

    bitmap: np.ndarray
    left: int = 0
    top: int = 0
    box: tuple[float, float, float, float] | None = None

    @property
    def part(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas that the bitmap covers."""
        height, width = self.bitmap.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


NOTHING = Drawn(np.zeros((0, 0), np.uint8))


class Polygons:
    """An object outlined by polygons.

    Args:
        polygons: Of each part x1, y1, x2, y2, ... in pixels; at least three points.
    """

    def __init__(self, polygons: Sequence[Sequence[float]]) -> None:
        self.rings = [np.asarray(polygon, dtype=np.float64).reshape(-1, 2) for polygon in polygons]

    def bounds(self) -> tuple[float, float, float, float]:
        """Box in pixels of the source."""
        return _bounds(self.rings)

    def draw(self, x: Axis, y: Axis, height: int, width: int) -> Drawn:
        """Draw the object on a canvas of (height, width) pixels, as COCO's rasteriser does."""
        (left, right), (top, bottom) = x.seen(width), y.seen(height)
        if left >= right or top >= bottom:
            return NOTHING
        window = shapely.box(left, top, right, bottom)
        placed = [np.stack([x.place(ring[:, 0]), y.place(ring[:, 1])], axis=1) for ring in self.rings]
        rings = [part for ring in placed for part in _cut(ring, window)]
        if not rings:
            return NOTHING
        return Drawn(*_rasterize(rings, height, width), _bounds(rings))


class Bitmap:
    """An object given by its pixels.

    Args:
        pixels: (h, w) uint8 or bool; of the source or a part of it.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def bounds(self) -> tuple[float, float, float, float]:
        """Box in its own pixels."""
        height, width = self.pixels.shape
        return 0.0, 0.0, float(width), float(height)

    def draw(self, x: Axis, y: Axis, height: int, width: int) -> Drawn:
        """Draw the object on a canvas of (height, width) pixels, each of which shows what lies at its centre."""
        (left, columns), (top, rows) = x.cells(width), y.cells(height)
        pixels = pick(self.pixels, rows, columns).view(np.uint8)
        part = _find_pixels(pixels)
        if part is None:
            return self._without_pixels(x, y, height, width)
        rows, columns = part
        left, top = left + columns.start, top + rows.start
        pixels = np.ascontiguousarray(pixels[part])
        return Drawn(pixels, left, top, (left, top, left + pixels.shape[1], top + pixels.shape[0]))

    def _without_pixels(self, x: Axis, y: Axis, height: int, width: int) -> Drawn:
        """No pixel's centre shows the object: it lies beside the canvas, or is too thin there."""
        rows, columns = np.nonzero(self.pixels)
        box = []
        for axis, cells, length in ((x, columns, width), (y, rows, height)):
            low, high = axis.seen(length)
            ends = np.sort([axis.place(cells), axis.place(cells + 1)], axis=0).clip(low, max(low, high))
            box.append(ends)
        seen = ((box[0][0] < box[0][1]) & (box[1][0] < box[1][1])).nonzero()[0]
        if not len(seen):
            return NOTHING
        (left, right), (top, bottom) = box
        ends = (left[seen].min(), top[seen].min(), right[seen].max(), bottom[seen].max())
        return NOTHING._replace(box=tuple(map(float, ends)))


class PlacedObject(NamedTuple):
    """An object, where it comes to lie on the canvas, and the id of its annotation or segment, if that is known."""

    shape: Polygons | Bitmap
    x: Axis
    y: Axis
    annotation_id: Hashable = None


def read_object(mask: Segmentation, name: Hashable, height: int, width: int) -> PlacedObject:
    """An object as COCO's files have it, or as a bitmap."""
    place = 'a mask' if name is None else f'annotation {name}'
    if isinstance(mask, dict):
        mask = _decode(mask, height, width, place)
    if isinstance(mask, np.ndarray):
        if mask.shape != (height, width):
            raise ValueError(f'{place}: a bitmap of {mask.shape} in an image of {(height, width)} (height, width)')
        part = _find_pixels(mask) or (slice(0, 0), slice(0, 0))
        pixels = mask[part] if mask.dtype in (np.uint8, bool) else mask[part] > 0
        return PlacedObject(Bitmap(np.ascontiguousarray(pixels)), *place_part(part), name)
    polygons = [polygon for polygon in mask if len(polygon) >= MIN_POLYGON_NUMBERS and len(polygon) % 2 == 0]
    if not polygons:
        raise ValueError(f'{place}: expected polygons of at least three points, run lengths or a bitmap, got {mask!r}')
    return PlacedObject(Polygons(polygons), Axis(width), Axis(height), name)


def _decode(rle: dict, height: int, width: int, place: str) -> np.ndarray:
    """Pixels of COCO's run lengths, compressed or not."""
    if list(rle['size']) != [height, width]:
        raise ValueError(f'{place}: an RLE of the size {rle["size"]} in an image of {[height, width]} (height, width)')
    if isinstance(rle['counts'], list):
        rle = coco_mask.frPyObjects(rle, height, width)
    return coco_mask.decode(rle)


def _find_pixels(pixels: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns of the pixels that are set; None if none is."""
    rows = pixels.any(axis=1).nonzero()[0]
    if not len(rows):
        return None
    columns = pixels[rows[0] : rows[-1] + 1].any(axis=0).nonzero()[0]
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def place_part(part: tuple[slice, slice]) -> tuple[Axis, Axis]:
    """The axes x and y of a bitmap that is a part of a canvas, given by its rows and columns."""
    rows, columns = part
    return Axis(columns.stop - columns.start, offset=columns.start), Axis(rows.stop - rows.start, offset=rows.start)


def _bounds(rings: Sequence[np.ndarray]) -> tuple[float, float, float, float]:
    points = np.concatenate(rings)
    return (*map(float, points.min(axis=0)), *map(float, points.max(axis=0)))


def _cut(ring: np.ndarray, window: shapely.Polygon) -> list[np.ndarray]:
    """What a window leaves of a polygon: outlines (n, 2) of its pieces, cleaned of self-intersections."""
    x1, y1, x2, y2 = window.bounds
    if (ring.max(axis=0) < (x1, y1)).any() or (ring.min(axis=0) > (x2, y2)).any():
        return []
    clean = shapely.Polygon(ring).buffer(0)
    if clean.is_empty:  # no area, which is no reason to lose it
        inside = ((ring >= (x1, y1)) & (ring < (x2, y2))).all(axis=1).any()
        return [ring.clip((x1, y1), (x2, y2))] if inside else []
    pieces = clean.intersection(window)
    pieces = getattr(pieces, 'geoms', [pieces])
    return [
        np.asarray(piece.exterior.coords)[:-1]
        for piece in pieces
        if isinstance(piece, shapely.Polygon) and not piece.is_empty
    ]


def _rasterize(rings: Sequence[np.ndarray], height: int, width: int) -> tuple[np.ndarray, int, int]:
    """Bitmap around polygons that lie on a canvas, and its left and upper end there."""
    x1, y1, x2, y2 = _bounds(rings)
    left, top = min(int(x1), width - 1), min(int(y1), height - 1)
    size = min(height, int(y2) + 2) - top, min(width, int(x2) + 2) - left
    # The rasteriser rounds to fifths of a pixel, here before the shift, which has rounding errors of its own.
    fifths = [np.floor(ring * 5 + 0.5) / 5 - (left, top) for ring in rings]
    runs = coco_mask.frPyObjects([ring.ravel().tolist() for ring in fifths], *size)
    return np.ascontiguousarray(coco_mask.decode(coco_mask.merge(runs))), left, top
