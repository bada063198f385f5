"""Where tiles lie, and masks of scenes."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmmaskdino.models.tta.tiles import Region, TileGrid, object_from_mask, scene_rle


@pytest.mark.parametrize('size', [(100, 70), (64, 64), (65, 200), (31, 500)])
@pytest.mark.parametrize('overlap', [0.05, 0.2, 0.75])
def test_every_pixel_belongs_to_one_tile_that_shows_it(size: tuple[int, int], overlap: float) -> None:
    grid = TileGrid(size, 64, overlap)
    owners = np.zeros(size, int)
    for tile in grid.tiles:
        assert tile.own.shared_with(tile.region) == tile.own
        assert tile.region.shape == (min(64, size[0]), min(64, size[1]))
        owners[tile.own.within(Region(0, 0, *size))] += 1
    assert (owners == 1).all()
    for starts in ({tile.region.top for tile in grid.tiles}, {tile.region.left for tile in grid.tiles}):
        assert max(np.diff(sorted(starts)), default=0) <= 64 * (1 - overlap)


def test_neighbours_are_all_that_overlap() -> None:
    grid = TileGrid((200, 150), 64, 0.3)
    expected = {
        (a.index, b.index)
        for a in grid.tiles
        for b in grid.tiles
        if a.index < b.index and a.region.shared_with(b.region)
    }
    assert {(a.index, b.index) for a, b, _ in grid.neighbours()} == expected


def test_only_edges_inside_of_the_scene_cut() -> None:
    grid = TileGrid((64, 112), 64, 0.25)
    mask = np.ones((64, 64), bool)
    assert [object_from_mask(mask, tile, grid, 0, 1.0).cut for tile in grid.tiles] == [
        (False, False, False, True),
        (False, True, False, False),
    ]
    mask[:, 62:] = False  # near enough
    assert object_from_mask(mask, grid.tiles[0], grid, 0, 1.0).cut[3]
    mask[:, 50:] = False
    assert not object_from_mask(mask, grid.tiles[0], grid, 0, 1.0).cut[3]


@pytest.mark.parametrize(
    ('tile', 'overlap', 'message'),
    [
        (31, 0.2, 'at least 32 pixels, the stride of the network, got 31'),
        (64.5, 0.2, 'got 64.5'),
        (64, 0.0, r'a share in \[0.05, 0.75\], got 0.0'),
        (64, 20, 'got 20'),
    ],
)
def test_tiles_that_cannot_work(tile, overlap, message) -> None:
    with pytest.raises(ValueError, match=message):
        TileGrid((100, 100), tile, overlap)


@pytest.mark.parametrize(
    'region', [Region(0, 0, 20, 30), Region(3, 4, 20, 11), Region(0, 4, 20, 11), Region(5, 6, 6, 7)]
)
def test_codes_of_the_scene(region: Region) -> None:
    """Made without a map of the scene, they are those of one."""
    size = (20, 30)
    for share in (0.0, 0.3, 0.9, 1.0):
        mask = np.random.default_rng(0).random(region.shape) < share
        scene = np.zeros(size, np.uint8)
        scene[region.within(Region(0, 0, *size))] = mask
        assert scene_rle(mask, region, size) == coco_mask.encode(np.asfortranarray(scene))


def test_a_scene_beyond_what_codes_can_count() -> None:
    with pytest.raises(ValueError, match='70000 x 70000'):
        scene_rle(np.ones((1, 1), bool), Region(0, 0, 1, 1), (70000, 70000))
