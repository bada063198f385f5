"""Results for a scene from what a model says of its tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmengine.structures import BaseDataElement, InstanceData
from scipy import ndimage

from mmmaskdino.results import label_map, one_mask
from mmmaskdino.structures import Shape
from mmmaskdino.tile_grid import Region, Tile, TileGrid

from .tiles import (
    SceneObject,
    TileObject,
    join_objects,
    joined_mask,
    merge_members,
    object_from_box,
    object_from_mask,
)

ROWS = 256  # of a map that are looked at together


class Segment(NamedTuple):
    """A panoptic segment of a scene."""

    label: int
    area: int
    region: Region


class SceneResults(NamedTuple):
    """What there is of a scene; the maps are those that the merger was given."""

    instances: list[SceneObject] | None
    """Best first; None where no tile had instances."""
    segments: list[Segment] | None
    """Segments 1, 2, ... of the panoptic map; None without one."""


class SceneMerger:
    """Puts the results of tiles together, tile by tile, in the memory of one tile and of the objects.

    Instances, and things of panoptic segmentations, are joined by what tiles show in common (:func:`join_objects`).
    Every pixel of a panoptic or semantic map comes from the tile whose edge is farthest, which shows most around it;
    stuff is one segment per class. A thing reaches beyond its tiles' own parts only over stuff and empty pixels.

    Args:
        grid (TileGrid): The tiles.
        num_things (int): How many of the classes, the first ones, are things.
        num_classes (int): All classes.
        panoptic (np.ndarray | None): (height, width) int32 of zeros, to become ids of segments; may be a memory map.
        semantic (np.ndarray | None): (height, width) of integers, to become labels; may be a memory map.
        merge_iou (float): Least similarity of objects that are one, in (0, 1].
        on_strip (Callable | None): Called whenever a part of a map was read or written, which may release its memory.

    Raises:
        ValueError: If ``merge_iou`` is out of range.
    """

    def __init__(
        self,
        grid: TileGrid,
        num_things: int,
        num_classes: int,
        panoptic: np.ndarray | None = None,
        semantic: np.ndarray | None = None,
        merge_iou: float = 0.6,
        on_strip: Callable[[], Any] | None = None,
    ) -> None:
        if not 0 < merge_iou <= 1:
            raise ValueError(f'merge_iou of tiles must lie in (0, 1], got {merge_iou}')
        self.grid, self.num_things, self.num_classes = grid, num_things, num_classes
        self.panoptic, self.semantic, self.merge_iou = panoptic, semantic, merge_iou
        self._on_strip = on_strip or (lambda: None)
        self._instances: list[TileObject] | None = None
        self._things: list[TileObject] = []

    def add(self, tile: Tile, sample: BaseDataElement) -> None:
        """Take in the results of the next tile, in the order of the grid.

        Args:
            tile (Tile): Of the grid.
            sample (BaseDataElement): ``pred_instances``, ``pred_panoptic_seg``, ``pred_sem_seg`` of the tile's size, on
                the CPU.

        Raises:
            ValueError: If a result has another size than the tile.
        """
        if 'pred_instances' in sample:
            self._instances = self._instances or []
            self._instances += self._objects(tile, sample.pred_instances)
        if self.panoptic is not None:
            self._add_panoptic(tile, _map_of(sample, 'pred_panoptic_seg', tile))
        if self.semantic is not None:
            labels = _map_of(sample, 'pred_sem_seg', tile)
            self.semantic[tile.own.slices] = labels[tile.own.within(tile.region)]

    def finish(self) -> SceneResults:
        """Join what belongs together, once all tiles are in."""
        segments = None if self.panoptic is None else self._finish_panoptic()
        return SceneResults(self._finish_instances(), segments)

    # ---------------------------------------------------------------- instances

    def _objects(self, tile: Tile, instances: InstanceData) -> list[TileObject]:
        found = []
        masks = instances.get('masks')
        for index, (box, label, score) in enumerate(
            zip(instances.bboxes.tolist(), instances.labels.tolist(), instances.scores.tolist(), strict=True)
        ):
            if masks is None:
                found.append(object_from_box(box, tile, self.grid, label, score))
                continue
            mask = one_mask(masks[index])
            _check_shape(mask.shape, tile)
            found.append(object_from_mask(mask, tile, self.grid, label, score, box))
        return [one for one in found if one is not None]

    def _finish_instances(self) -> list[SceneObject] | None:
        if self._instances is None:
            return None
        group, is_member = join_objects(self._instances, self.grid, self.merge_iou)
        merged = [merge_members([self._instances[index] for index in members]) for members in _groups(group, is_member)]
        return sorted(merged, key=lambda found: -found.score)

    # ----------------------------------------------------------------- panoptic

    # Until all tiles are in, the map has 0 where nothing is, 1 + label for stuff, and then a number for each object.

    def _add_panoptic(self, tile: Tile, segments: np.ndarray) -> None:
        values, position = np.unique(segments, return_inverse=True)
        position = position.reshape(segments.shape)
        numbers = np.zeros(len(values), np.int32)
        for index, label in enumerate((values % INSTANCE_OFFSET).tolist()):
            if self.num_things <= label < self.num_classes:
                numbers[index] = 1 + label
            elif label < self.num_things:
                mask = position == index
                found = object_from_mask(mask, tile, self.grid, label, score=1.0)
                self._things.append(found)
                numbers[index] = self.num_classes + len(self._things)
        own = position[tile.own.within(tile.region)]
        self.panoptic[tile.own.slices] = numbers[own]

    def _finish_panoptic(self) -> list[Segment]:
        group, is_member = join_objects(self._things, self.grid, self.merge_iou)
        for members in _groups(group, is_member):
            self._complete(members)
        # First the class of each stuff segment, then the groups.
        of_value = np.r_[np.arange(1 + self.num_classes), self.num_classes + 1 + group].astype(np.int64)
        labels = np.r_[-1, np.arange(self.num_classes), np.zeros(group.max(initial=-1) + 1, int)]
        for index in np.flatnonzero(is_member):
            labels[of_value[self.num_classes + 1 + index]] = self._things[index].label
        areas = np.zeros(len(labels), np.int64)
        for rows in self._strips():
            areas += np.bincount(of_value[self.panoptic[rows]].ravel(), minlength=len(areas))
        areas[0] = 0
        number = np.where(areas > 0, np.cumsum(areas > 0), 0)
        extents = self._renumber(number[of_value].astype(np.int32), int(number.max()))
        kept = np.flatnonzero(areas)
        return [Segment(int(labels[old]), int(areas[old]), region) for old, region in zip(kept, extents, strict=True)]

    def _complete(self, members: Sequence[int]) -> None:
        """Show a thing where the tile with the last word has none of it, nor another thing."""
        things = [self._things[index] for index in members]
        tiles = {thing.tile.index: thing.tile for thing in things}
        if all(thing.region.shared_with(thing.tile.own) == thing.region for thing in things):
            return
        mask, region = joined_mask(things)
        for tile in tiles.values():
            shared = tile.own.shared_with(region)
            if shared:
                mask[shared.within(region)] = False
        if mask.any():
            there = self.panoptic[region.slices]
            there[mask & (there <= self.num_classes)] = self.num_classes + 1 + members[0]
            self.panoptic[region.slices] = there
            self._on_strip()

    def _renumber(self, of_value: np.ndarray, count: int) -> list[Region]:
        """Write the final numbers into the map; the extent of each of the ``count`` segments."""
        extents = np.tile([*self.grid.size, 0, 0], (count, 1))
        for rows in self._strips():
            final = of_value[self.panoptic[rows]]
            self.panoptic[rows] = final
            for number, found in enumerate(ndimage.find_objects(final, count)):
                if found is not None:
                    first, last = (np.array([s.start for s in found]), np.array([s.stop for s in found]))
                    first[0], last[0] = first[0] + rows.start, last[0] + rows.start
                    extents[number, :2] = np.minimum(extents[number, :2], first)
                    extents[number, 2:] = np.maximum(extents[number, 2:], last)
        return [Region(*extent) for extent in extents.tolist()]

    def _strips(self) -> Iterator[slice]:
        height = self.grid.size[0]
        for top in range(0, height, ROWS):
            yield slice(top, min(top + ROWS, height))
            self._on_strip()


def _groups(group: np.ndarray, is_member: np.ndarray) -> list[np.ndarray]:
    """Indices of the members of each group that has any."""
    members = np.flatnonzero(is_member)
    members = members[np.argsort(group[members], kind='stable')]
    return [part for part in np.split(members, np.flatnonzero(np.diff(group[members])) + 1) if len(part)]


def _map_of(sample: BaseDataElement, name: str, tile: Tile) -> np.ndarray:
    """(h, w) of a map among the results of a tile."""
    data = sample.get(name)
    if data is None:
        raise ValueError(f'the results of a tile lack {name}')
    labels = label_map(data)
    _check_shape(labels.shape, tile)
    return labels


def _check_shape(shape: Shape, tile: Tile) -> None:
    if tuple(shape) != tile.region.shape:
        raise ValueError(f'the results of a tile have the size {tuple(shape)}, the tile {tile.region.shape} pixels')
