"""Where an object of the photograph comes to lie on the canvas that a pipeline makes of it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

_TIE = 1e-6  # of a source cell: a centre that lies as near to the border of two cells lies on it, but for rounding


class Axis(NamedTuple):
    """One axis of a placement: what flips, resizes, crops and shifts make of it, for coordinates to be moved once.

    Attributes:
        size: Length of the source in its own pixels.
        scale: Canvas pixels per source pixel.
        offset: Where the source begins on the canvas, in pixels; below 0 if that is beside it.
        mirrored: Whether the source's last pixel comes first.
        low: Where the canvas was cut, in pixels: nothing of the source is seen before it, ...
        high: ... nor after it.
        moved: By how much the canvas was moved since it was last resized, in pixels.
    """

    size: float
    scale: float = 1.0
    offset: float = 0.0
    mirrored: bool = False
    low: float = -math.inf
    high: float = math.inf
    moved: float = 0.0

    def resized(self, factor: float) -> Axis:
        """The canvas becomes `factor` times as long."""
        return self._replace(
            scale=self.scale * factor,
            offset=self.offset * factor,
            low=self.low * factor,
            high=self.high * factor,
            moved=0.0,
        )

    def shifted(self, distance: float) -> Axis:
        """Everything on the canvas moves by so many pixels."""
        return self._replace(
            offset=self.offset + distance,
            low=self.low + distance,
            high=self.high + distance,
            moved=self.moved + distance,
        )

    def flipped(self, length: float) -> Axis:
        """A canvas of so many pixels is mirrored."""
        return self._replace(
            offset=length - self.offset - self.scale * self.size,
            mirrored=not self.mirrored,
            low=length - self.high,
            high=length - self.low,
        )

    def cut(self, low: float, high: float) -> Axis:
        """What lies outside of [low, high) is cut off."""
        return self._replace(low=max(self.low, low), high=min(self.high, high))

    def cropped(self, start: float, stop: float, length: float) -> Axis:
        """A canvas of so many pixels becomes its part [start, stop).

        Where the part ends with the canvas, nothing is cut: a polygon that leaves its image is seen in the padding
        that a later step adds there, as in the reference.
        """
        cut = self.cut(start if start > 0 else -math.inf, stop if stop < length else math.inf)
        return cut.shifted(-start)

    def place(self, coordinates: np.ndarray) -> np.ndarray:
        """Positions on the canvas of positions in the source, both in pixels; 0 is the first pixel's left border."""
        if self.mirrored:
            coordinates = self.size - coordinates
        return coordinates * self.scale + self.offset

    def seen(self, length: int) -> tuple[float, float]:
        """The part of a canvas of so many pixels that may show the source: begin and end, which may be before it."""
        return max(self.low, 0.0), min(self.high, float(length))

    def cells(self, length: int) -> tuple[int, np.ndarray]:
        """Which cells of the source the cells of the canvas show: those in which their centres lie.

        A centre on the border of two cells shows the left one and the right one by turns. Always the right one, as in
        Pillow, would move everything by a quarter of a pixel at half the size. Whose turn it is, a crop does not
        change: label maps are resized before it.

        Args:
            length: Of the canvas in pixels.

        Returns:
            The first pixel of the canvas with a centre in the source, and (n,) indices of source cells from there on.
        """
        low, high = self.seen(length)
        near = _TIE * self.scale
        start = math.ceil(max(low, self.offset - near) - 0.5)
        stop = min(math.ceil(high - 0.5), math.floor(self.offset + self.scale * self.size + near + 0.5))
        pixels = np.arange(start, max(start, stop))
        positions = (pixels + (0.5 - self.offset)) / self.scale
        borders = np.rint(positions)
        at_border = np.abs(positions - borders) < _TIE
        turns = (pixels - round(self.moved)) % 2
        cells = np.where(at_border, borders - (turns == 0), np.floor(positions)).astype(np.intp)
        inside = (cells >= 0) & (cells < self.size)  # but for centres on the borders of the source, all are
        cells = cells[inside]
        return start + int(inside.argmax() if len(inside) else 0), int(
            self.size
        ) - 1 - cells if self.mirrored else cells


def resize_about_centers(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a map of labels; each new pixel reads the old map at its centre.

    Args:
        labels: (h, w), of any type.
        size: New (h, w).

    Returns:
        (new h, new w) values of `labels`.
    """
    sides = zip(labels.shape, size, strict=True)
    return pick(labels, *(Axis(old).resized(new / old).cells(new)[1] for old, new in sides))


def resize_about_corners(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a map of labels; each new pixel reads the old map at its upper left corner: up to half a pixel off.

    Args:
        labels: (h, w), of any type.
        size: New (h, w).

    Returns:
        (new h, new w) values of `labels`.
    """
    return pick(labels, *(np.arange(new) * old // new for old, new in zip(labels.shape, size, strict=True)))


def pick(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Some rows and columns of an array (h, w), in any order and more than once; (len(rows), len(columns))."""
    if len(rows) > len(values):  # rows are copied quickly, columns are not
        return values.take(columns, axis=1).take(rows, axis=0)
    return values.take(rows, axis=0).take(columns, axis=1)
