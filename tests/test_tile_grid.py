"""Where tiles lie."""

from __future__ import annotations

import numpy as np
import pytest

from mmmaskdino.tile_grid import Region, TileGrid


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
