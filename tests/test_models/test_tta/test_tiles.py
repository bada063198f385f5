"""Objects of tiles, and masks of scenes."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmmaskdino.models.tta.tiles import object_from_mask, scene_rle
from mmmaskdino.tile_grid import Region, TileGrid


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
    'region', [Region(0, 0, 20, 30), Region(3, 4, 20, 11), Region(0, 4, 20, 11), Region(5, 6, 6, 7)]
)
def test_codes_of_the_scene(region: Region) -> None:
    """Made without a map of the scene, they are those of one."""
    size = (20, 30)
    for share in (0.0, 0.3, 0.9, 1.0):
        mask = np.random.default_rng(0).random(region.shape) < share
        scene = np.zeros(size, np.uint8)
        scene[region.within(Region(0, 0, *size))] = mask
        whole = coco_mask.encode(np.asfortranarray(scene))
        assert scene_rle([(mask, region)], size) == whole
        halves = [
            (mask[:, :3], region._replace(right=region.left + 3)),
            (mask[:, 3:], region._replace(left=region.left + 3)),
        ]
        if region.shape[1] > 3:
            assert scene_rle(halves, size) == whole


def test_a_scene_beyond_what_codes_can_count() -> None:
    with pytest.raises(ValueError, match='70000 x 70000'):
        scene_rle([(np.ones((1, 1), bool), Region(0, 0, 1, 1))], (70000, 70000))
