"""Where the tiles of a scene lie; without torch.

A scene is an image too large for the network; its tiles are views of parts of it that overlap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

STRIDE = 32  # of the network's coarsest map: a smaller tile is one cell of it
MIN_OVERLAP, DEFAULT_OVERLAP, MAX_OVERLAP = 0.05, 0.2, 0.75
# Masks have a quarter of the input's resolution: what ends within this share of a tile from its edge may be cut there.
NEAR_EDGE = 1 / 32


class Region(NamedTuple):
    """A rectangle of the scene, in pixels; the last row and column are outside."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns in an array of the scene."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def within(self, other: Region) -> tuple[slice, slice]:
        """Rows and columns of this region in an array of the other."""
        return (
            slice(self.top - other.top, self.bottom - other.top),
            slice(self.left - other.left, self.right - other.left),
        )

    def shared_with(self, other: Region) -> Region | None:
        """What both have; None where that is nothing."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Region(top, left, bottom, right) if top < bottom and left < right else None

    def joined_with(self, other: Region) -> Region:
        """The smallest region that has both."""
        return Region(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )


class Tile(NamedTuple):
    """One tile of a scene."""

    index: int
    region: Region
    """What it shows."""
    own: Region
    """Where it has the last word: of the tiles that show a pixel, the one whose edge is farthest."""


class TileGrid:
    """Where the tiles of a scene lie: in rows, the last of which end with the scene.

    Args:
        size (tuple[int, int]): (height, width) of the scene in pixels.
        tile (int): Side of the square tiles in pixels, at least 32, the stride of the network's coarsest map. A scene
            that is smaller has one tile of its own size.
        overlap (float): Least share of a tile that its neighbour shows, too, in [0.05, 0.75].

    Raises:
        ValueError: If one of them is out of range.
    """

    def __init__(self, size: tuple[int, int], tile: int, overlap: float) -> None:
        check_tiles(tile, overlap)
        if min(size) < 1:
            raise ValueError(f'a scene must have at least one pixel, got {size} (height, width)')
        self.size: tuple[int, int] = tuple(size)
        stride = max(1, int(tile * (1 - overlap)))
        axes = [_axis(length, tile, stride) for length in size]
        self.tiles = [
            Tile(index, *(Region(*fields) for fields in zip(*spans, strict=True)))
            for index, spans in enumerate(_transposed(rows, columns) for rows in axes[0] for columns in axes[1])
        ]
        self.margin = max(2, round(tile * NEAR_EDGE))
        """What ends so many pixels from a tile's edge may be cut there."""
        self.smallest = max(4, (tile // 64) ** 2)
        """Pixels that objects must share to be one, unless they are smaller."""

    def __len__(self) -> int:
        return len(self.tiles)

    def cut_sides(self, box: Sequence[float], tile: Tile) -> tuple[bool, bool, bool, bool]:
        """Whether the tile may cut an object at its top, left, bottom, right; the scene's own edges cut nothing."""
        ends = (0, 0, *self.size)
        return tuple(
            edge != end and abs(edge - side) <= self.margin
            for side, edge, end in zip(box, tile.region, ends, strict=True)
        )

    def neighbours(self) -> Iterator[tuple[Tile, Tile, Region]]:
        """Tiles of which both show a part of the scene, and that part."""
        for number, tile in enumerate(self.tiles):
            for other in self.tiles[number + 1 :]:
                if other.region.top >= tile.region.bottom:
                    break
                shared = tile.region.shared_with(other.region)
                if shared:
                    yield tile, other, shared


def check_tiles(tile: int, overlap: float) -> None:
    """Reject tiles that cannot work.

    Raises:
        ValueError: Naming the option.
    """
    if not isinstance(tile, int) or tile < STRIDE:
        raise ValueError(
            f'tiles must have a side of at least {STRIDE} pixels, the stride of the network, got {tile}; the size of '
            'the images of the training is a good choice (--tiles)'
        )
    if not MIN_OVERLAP <= overlap <= MAX_OVERLAP:
        raise ValueError(
            f'the overlap of tiles must be a share in [{MIN_OVERLAP}, {MAX_OVERLAP}], got {overlap}; for example 0.2 '
            '(--overlap): objects on a seam are joined by what both tiles show of them'
        )


def _axis(length: int, tile: int, stride: int) -> list[tuple[int, int, int, int]]:
    """Beginning and end of what each tile shows along an axis, and of where it has the last word."""
    last = max(length - tile, 0)
    starts = [*range(0, last, stride), last]
    ends = [min(start + tile, length) for start in starts]
    middles = [(start + end) // 2 for start, end in zip(starts[1:], ends, strict=False)]
    return list(zip(starts, ends, [0, *middles], [*middles, length], strict=True))


def _transposed(rows: tuple[int, ...], columns: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """From the spans of rows and columns to tops, lefts, bottoms and rights of both regions."""
    return ((rows[0], rows[2]), (columns[0], columns[2]), (rows[1], rows[3]), (columns[1], columns[3]))
