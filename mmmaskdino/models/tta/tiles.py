"""Objects that tiles show parts of: views of an image too large for one view, here called a scene."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask
from scipy.sparse import coo_array

from mmmaskdino.structures import Shape
from mmmaskdino.tile_grid import Region, Tile, TileGrid

from .merging import group_queries


class TileObject(NamedTuple):
    """What one tile shows of an object."""

    tile: Tile
    label: int
    score: float
    box: tuple[float, float, float, float]
    """Predicted: left, top, right, bottom in pixels of the scene."""
    region: Region
    """The mask's extent, or the box where there is no mask."""
    area: int
    """Pixels of the mask."""
    cut: tuple[bool, bool, bool, bool]
    """Whether the tile may end it at its top, left, bottom, right."""
    counts: bytes | None
    """COCO's run lengths of the mask in its region; None: the whole region."""

    def mask(self) -> np.ndarray:
        """(h, w) bool of the region."""
        if self.counts is None:
            return np.ones(self.region.shape, bool)
        return coco_mask.decode(dict(size=list(self.region.shape), counts=self.counts)).astype(bool)

    def is_cut_inside(self, other: Tile) -> bool:
        """Whether its tile may cut it where the other tile goes on."""
        mine, others = self.tile.region, other.region
        inside = (
            others.top < mine.top,
            others.left < mine.left,
            mine.bottom < others.bottom,
            mine.right < others.right,
        )
        return any(cut and goes_on for cut, goes_on in zip(self.cut, inside, strict=True))


def object_from_mask(
    mask: np.ndarray, tile: Tile, grid: TileGrid, label: int, score: float, box: Sequence[float] | None = None
) -> TileObject | None:
    """An object from its mask (h, w) bool or uint8 in the tile; None without a pixel.

    ``box`` is the predicted one in pixels of the tile, by default that of the mask.
    """
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return None
    top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    mask = mask[top:bottom, left:right]
    dy, dx = tile.region[:2]
    region = Region(int(top) + dy, int(left) + dx, int(bottom) + dy, int(right) + dx)
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    box = (left, top, right, bottom) if box is None else box
    box = tuple(float(side) + shift for side, shift in zip(box, (dx, dy, dx, dy), strict=True))
    area = int(coco_mask.area(rle))
    return TileObject(tile, label, score, box, region, area, grid.cut_sides(region, tile), rle['counts'])


def object_from_box(box: Sequence[float], tile: Tile, grid: TileGrid, label: int, score: float) -> TileObject | None:
    """An object without a mask, from its box in pixels of the tile; None if it lies outside of the tile."""
    dy, dx = tile.region[:2]
    left, top, right, bottom = (float(side) + shift for side, shift in zip(box, (dx, dy, dx, dy), strict=True))
    outline = Region(math.floor(top), math.floor(left), math.ceil(bottom), math.ceil(right))
    region = outline.shared_with(tile.region)
    if region is None:
        return None
    area = region.shape[0] * region.shape[1]
    return TileObject(tile, label, score, (left, top, right, bottom), region, area, grid.cut_sides(region, tile), None)


class Joined(NamedTuple):
    """Which objects of tiles are one."""

    group: np.ndarray
    """(n,) int64 group of each."""
    is_member: np.ndarray
    """(n,) bool; False of those that tell nothing of their group, since another tile shows more of them."""


def join_objects(objects: Sequence[TileObject], grid: TileGrid, threshold: float) -> Joined:
    """Find out which objects of different tiles are one, by the part of the scene that both tiles show.

    Two of one class are similar by the IoU of their masks there. One that its tile cuts is a part of the other's, so it
    is similar by the share of it that lies in the other one. :func:`group_queries` makes groups of them.

    One that its tile cuts, while another tile shows all of it and has an object of any class in its place, is that
    object: a part of an object can look like another class.

    Args:
        objects (Sequence[TileObject]): In the order of their tiles.
        grid (TileGrid): Of the tiles.
        threshold (float): Least similarity of objects that are one, in (0, 1].

    Returns:
        Joined: Groups in no order.
    """
    similar, shown_by = _compare(objects, grid, threshold)
    count = len(objects)
    swallowed_by = np.full(count, -1)
    scores = np.array([found.score for found in objects])
    for part in sorted(shown_by, key=lambda index: objects[index].area):
        for other, _ in sorted(shown_by[part].items(), key=lambda item: -item[1]):
            # Not by what hardly exists; and never in a circle.
            if swallowed_by[other] < 0 and scores[other] >= scores[part] / 2:
                swallowed_by[part] = other
                break
    rows, columns, values = (np.array(x) for x in zip(*similar, strict=True)) if similar else np.zeros((3, 0), int)
    free = (swallowed_by[rows] < 0) & (swallowed_by[columns] < 0)
    similarity = coo_array((values[free].astype(float), (rows[free], columns[free])), shape=(count, count))
    group = group_queries(
        scores=scores,
        labels=np.array([found.label for found in objects], int),
        of_view=np.array([found.tile.index for found in objects], int),
        similarity=similarity,
        threshold=threshold,
        whole=False,
    )
    for index in np.flatnonzero(swallowed_by >= 0):
        leader = index
        while swallowed_by[leader] >= 0:
            leader = swallowed_by[leader]
        group[index] = group[leader]
    return Joined(group, swallowed_by < 0)


def _compare(
    objects: Sequence[TileObject], grid: TileGrid, threshold: float
) -> tuple[list[tuple[int, int, float]], dict[int, dict[int, float]]]:
    """Similar pairs, both ways, and for each part that another tile shows whole what that tile has in its place."""
    of_tile: list[list[int]] = [[] for _ in grid.tiles]
    for index, found in enumerate(objects):
        of_tile[found.tile.index].append(index)
    similar: list[tuple[int, int, float]] = []
    shown_by: dict[int, dict[int, float]] = {}
    for tile, indices in zip(grid.tiles, of_tile, strict=True):
        cut = [index for index in indices if any(objects[index].cut)]
        for first, second, both, areas in _overlaps(objects, cut, cut, tile.region):
            # Two of one tile that claim the same place are never two parts of an object.
            if first < second and objects[first].label == objects[second].label:
                share = both / min(areas)
                similar += [(first, second, share), (second, first, share)]
    for tile, other, region in grid.neighbours():
        for first, second, both, areas in _overlaps(objects, of_tile[tile.index], of_tile[other.index], region):
            one, two = objects[first], objects[second]
            if both < min(grid.smallest, one.area / 2, two.area / 2):
                continue
            parts = one.is_cut_inside(other), two.is_cut_inside(tile)
            for index, by, found, shower, is_part, is_other_part in (
                (first, second, one, other, parts[0], parts[1]),
                (second, first, two, tile, parts[1], parts[0]),
            ):
                whole = found.region.shared_with(shower.region) == found.region
                if is_part and not is_other_part and whole and both / found.area >= threshold:
                    shown_by.setdefault(index, {})[by] = both / found.area
            if one.label == two.label:
                likeness = both / (sum(areas) - both)
                likeness = max([likeness, *(both / area for area, part in zip(areas, parts, strict=True) if part)])
                if likeness >= threshold:
                    similar += [(first, second, likeness), (second, first, likeness)]
    return similar, shown_by


def _overlaps(
    objects: Sequence[TileObject], firsts: Sequence[int], seconds: Sequence[int], region: Region
) -> Iterator[tuple[int, int, int, tuple[int, int]]]:
    """Pairs that share pixels of a region, how many, and how many pixels each has there."""
    masks: dict[int, np.ndarray] = {}
    areas: dict[int, int] = {}

    def mask_of(index: int) -> np.ndarray:
        if index not in masks:
            masks[index] = objects[index].mask()
            areas[index] = int(
                masks[index][objects[index].region.shared_with(region).within(objects[index].region)].sum()
            )
        return masks[index]

    if not firsts or not seconds:
        return
    corners = np.array([objects[index].region for index in seconds])
    corners[:, :2] = np.maximum(corners[:, :2], region[:2])
    corners[:, 2:] = np.minimum(corners[:, 2:], region[2:])
    for first in firsts:
        one = objects[first].region.shared_with(region)
        if one is None:
            continue
        meets = (np.maximum(corners[:, :2], one[:2]) < np.minimum(corners[:, 2:], one[2:])).all(1)
        for position in np.flatnonzero(meets):
            second = seconds[position]
            if second == first:
                continue
            common = one.shared_with(Region(*corners[position].tolist()))
            both = (
                mask_of(first)[common.within(objects[first].region)]
                & mask_of(second)[common.within(objects[second].region)]
            )
            if both.any():
                yield first, second, int(both.sum()), (areas[first], areas[second])


class SceneObject(NamedTuple):
    """An object of the scene, joined from what the tiles show of it."""

    label: int
    score: float
    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels of the scene."""
    region: Region
    """Extent of the mask."""
    counts: bytes | None
    """COCO's run lengths of the mask in its region; None without masks."""

    @property
    def area(self) -> int:
        """Pixels of the mask, or of the region without one."""
        if self.counts is None:
            return self.region.shape[0] * self.region.shape[1]
        return int(coco_mask.area(dict(size=list(self.region.shape), counts=self.counts)))

    def mask(self) -> np.ndarray | None:
        """(h, w) bool of the region; None without masks."""
        if self.counts is None:
            return None
        return coco_mask.decode(dict(size=list(self.region.shape), counts=self.counts)).astype(bool)

    def rle(self, size: Shape) -> dict | None:
        """The mask as COCO's RLE of the whole scene (height, width), made without a map of it; None without masks."""
        return None if self.counts is None else scene_rle([(self.mask(), self.region)], size)


def merge_members(members: Sequence[TileObject]) -> SceneObject:
    """One object from the members of a group.

    Its score is their mean, weighted by area and score: a poor view of a part says little. In a tile's own part of the
    scene that tile's members say what belongs to the object, if it has any; elsewhere all do. The box is that of the
    member with most area and score, grown to the boxes of those that reach beyond its tile.

    Args:
        members (Sequence[TileObject]): At least one, of one class.
    """
    if len(members) == 1:
        (found,) = members
        return SceneObject(found.label, found.score, found.box, found.region, found.counts)
    weights = np.array([found.area * max(found.score, 1e-6) for found in members])
    best = members[int(weights.argmax())]
    score = float(weights @ [found.score for found in members] / weights.sum())
    # What lies in the tile of the best member tells nothing more of the extent.
    boxes = [best.box, *(one.box for one in members if one.region.shared_with(best.tile.region) != one.region)]
    box = (*np.min(boxes, axis=0)[:2].tolist(), *np.max(boxes, axis=0)[2:].tolist())
    if best.counts is None:
        left, top, right, bottom = box
        region = Region(math.floor(top), math.floor(left), math.ceil(bottom), math.ceil(right))
        return SceneObject(best.label, score, box, region, None)
    mask, region = joined_mask(members)
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return SceneObject(best.label, score, box, region, rle['counts'])


def joined_mask(members: Sequence[TileObject]) -> tuple[np.ndarray, Region]:
    """Mask (h, w) bool of the members of a group, and its region."""
    corners = np.array([found.region for found in members])
    region = Region(*corners[:, :2].min(0).tolist(), *corners[:, 2:].max(0).tolist())
    joined = np.zeros(region.shape, bool)
    tiles = {found.tile.index: found.tile for found in members}
    for found in members:
        mask = found.mask()
        for tile in tiles.values():
            shared = tile.own.shared_with(found.region) if tile.index != found.tile.index else None
            if shared:
                mask[shared.within(found.region)] = False
        joined[found.region.within(region)] |= mask
    return joined, region


def scene_rle(parts: Iterable[tuple[np.ndarray, Region]], size: Shape) -> dict:
    """COCO's RLE of a mask in a scene, made without a map of the scene.

    Args:
        parts (Iterable[tuple[np.ndarray, Region]]): Masks (h, w) bool of regions with the same rows, from the left.
        size (Shape): (height, width) of the scene.

    Raises:
        ValueError: If the scene has more pixels than COCO's RLE can count.
    """
    height, width = size
    if height * width >= 2**32:
        raise ValueError(f"COCO's RLE counts up to 2**32 pixels, the scene has {width} x {height}")
    runs = [_runs(mask, region, height) for mask, region in parts]
    starts, stops = (np.concatenate(ends) for ends in zip(*runs, strict=True))
    follows = starts[1:] == stops[:-1]  # a run that goes on at the top of the next column
    first, last = np.ones((2, len(starts)), bool)
    first[1:], last[:-1] = ~follows, ~follows
    edges = np.stack([starts[first], stops[last]], 1).ravel()
    counts = np.diff(np.r_[0, edges, height * width])
    counts = counts[: len(counts) - (counts[-1] == 0)]
    return coco_mask.frPyObjects(dict(size=[height, width], counts=counts.tolist()), height, width)


def _runs(mask: np.ndarray, region: Region, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Where runs down the columns begin and end, counted along the columns of the scene."""
    padded = np.zeros((mask.shape[1], mask.shape[0] + 2), np.int8)
    padded[:, 1:-1] = mask.T
    steps = np.diff(padded, axis=1)
    ends = (np.nonzero(steps == step) for step in (1, -1))
    return tuple((columns + region.left) * height + rows + region.top for columns, rows in ends)
