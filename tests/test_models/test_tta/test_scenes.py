"""What tiles show of a scene, put together."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from pycocotools import mask as coco_mask

from mmmaskdino.models.tta.scenes import SceneMerger, SceneResults
from mmmaskdino.tile_grid import TileGrid

SIZE = (230, 310)


def put_together(
    image: np.ndarray, tile: int, overlap: float, predict: Callable[[np.ndarray], DetDataSample], **options
) -> tuple[SceneResults, np.ndarray, np.ndarray]:
    """The results of a scene, its panoptic and its semantic map."""
    grid = TileGrid(image.shape[:2], tile, overlap)
    panoptic, semantic = np.zeros(grid.size, np.int32), np.full(grid.size, 255, np.uint8)
    merger = SceneMerger(grid, 2, 4, panoptic, semantic, **options)
    for one in grid.tiles:
        merger.add(one, predict(image[one.region.top : one.region.bottom, one.region.left : one.region.right]))
    return merger.finish(), panoptic, semantic


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return (first & second).sum() / (first | second).sum()


@pytest.mark.parametrize('split', [False, True])
@pytest.mark.parametrize(('tile', 'overlap'), [(64, 0.4), (128, 0.1), (400, 0.2)])
@pytest.mark.parametrize('seed', range(2))
def test_perfect_tiles_give_the_whole_scene(
    scene_oracle: ModuleType, seed: int, tile: int, overlap: float, split: bool
) -> None:
    """Each object once, pixel for pixel, also where a tile shows parts of it that hang together in another."""
    image = scene_oracle.draw_scene(SIZE, seed)
    whole = scene_oracle.true_sample(image)
    results, panoptic, semantic = put_together(
        image, tile, overlap, lambda part: scene_oracle.true_sample(part, split=split)
    )
    numbers, label = image[..., 0], image[..., 1]
    assert np.array_equal(semantic, label)

    assert len(results.instances) == len(whole.pred_instances) > 10
    for found in results.instances:
        mask = coco_mask.decode(found.rle(SIZE)).astype(bool)
        (number,) = np.unique(numbers[mask])
        expected = whole.pred_instances[int(np.flatnonzero(np.unique(numbers[numbers > 0]) == number)[0])]
        assert np.array_equal(mask, expected.masks[0].numpy())
        assert found.label == expected.labels and found.box == tuple(expected.bboxes[0].tolist())
        assert found.score == pytest.approx(0.9)

    ids, areas = np.unique(panoptic, return_counts=True)
    assert ids.tolist() == list(range(1, len(results.segments) + 1))
    assert [segment.area for segment in results.segments] == areas.tolist()
    for number, segment in enumerate(results.segments, start=1):
        mask = panoptic == number
        truth = (label == segment.label) & (numbers == 0)
        if segment.label < 2:
            truth = numbers == numbers[mask][0]
        assert np.array_equal(mask, truth)
        top, left, bottom, right = segment.region
        assert mask[top:bottom, left:right].sum() == segment.area and mask[[top, bottom - 1]].any(1).all()
    assert len(ids) == len(whole.pred_instances) + 2


def blob(size: tuple[int, int], **objects: tuple) -> DetDataSample:
    """Results with these objects: name -> (rows, columns, label, score)."""
    sample = DetDataSample()
    masks = torch.zeros(len(objects), *size, dtype=torch.bool)
    panoptic = torch.full(size, 3, dtype=torch.int32)
    boxes = []
    for index, (rows, columns, label, _) in enumerate(objects.values()):
        masks[index, rows, columns] = True
        panoptic[rows, columns] = label + 1000 * (index + 1)
        boxes.append([columns.start, rows.start, columns.stop, rows.stop])
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([label for *_, label, _ in objects.values()], dtype=torch.long),
        scores=torch.tensor([score for *_, score in objects.values()]),
        masks=masks,
    )
    sample.pred_panoptic_seg = PixelData(sem_seg=panoptic[None])
    sample.pred_sem_seg = PixelData(sem_seg=panoptic[None] % 1000)
    return sample


def two_tiles(left: dict, right: dict, **options) -> tuple[SceneResults, np.ndarray]:
    """A scene of 64 x 112 pixels in two tiles, which share the columns 48 to 64; the seam is at 56."""
    samples = iter([blob((64, 64), **left), blob((64, 64), **right)])
    results, panoptic, _ = put_together(np.zeros((64, 112, 3), np.uint8), 64, 0.25, lambda _: next(samples), **options)
    return results, panoptic


def test_a_part_that_looks_like_another_class_is_told_by_the_tile_that_shows_it_whole() -> None:
    whole = dict(a=(slice(10, 30), slice(30, 58), 0, 0.8))
    part = dict(a=(slice(10, 30), slice(0, 10), 1, 0.6))  # columns 48 to 58
    results, panoptic = two_tiles(whole, part)
    assert [(one.label, one.region) for one in results.instances] == [(0, (10, 30, 30, 58))]
    assert results.instances[0].score == pytest.approx(0.8)
    things = [segment for segment in results.segments if segment.label < 2]
    assert [(one.label, one.area) for one in things] == [(0, 20 * 28)]


def test_a_part_of_which_the_other_tile_says_nothing_stays() -> None:
    results, _ = two_tiles({}, dict(a=(slice(10, 30), slice(0, 10), 1, 0.6)))
    assert [one.region for one in results.instances] == [(10, 48, 30, 58)]


def test_an_object_that_one_tile_misses_is_whole() -> None:
    """Also where the other tile has the last word, but not over another thing there."""
    results, panoptic = two_tiles(
        dict(a=(slice(10, 30), slice(40, 62), 0, 0.8)), dict(b=(slice(20, 40), slice(11, 30), 1, 0.7))
    )
    assert len(results.instances) == 2
    assert [(one.label, one.area) for one in results.segments if one.label < 2] == [(0, 20 * 22 - 10 * 3), (1, 20 * 19)]


def test_neighbours_of_one_class_stay_apart() -> None:
    """They touch on the seam, and doubtful doubles of them join neither."""
    left = dict(a=(slice(10, 40), slice(20, 56), 0, 0.9), double=(slice(10, 38), slice(20, 55), 0, 0.2))
    right = dict(
        a=(slice(10, 40), slice(0, 8), 0, 0.8),
        b=(slice(10, 40), slice(8, 50), 0, 0.9),
        c=(slice(41, 60), slice(2, 9), 0, 0.5),
    )
    results, _ = two_tiles(left, right)
    regions = [tuple(one.region) for one in results.instances]
    assert regions == [(10, 20, 40, 56), (10, 56, 40, 98), (41, 50, 60, 57), (10, 20, 38, 55)]


def test_scores_are_weighted_by_area_and_score() -> None:
    """An object that both cut: most of it is in the right tile."""
    results, _ = two_tiles(dict(a=(slice(0, 8), slice(48, 64), 0, 0.5)), dict(a=(slice(0, 8), slice(0, 48), 0, 0.9)))
    (found,) = results.instances
    assert found.region == (0, 48, 8, 96) and found.score == pytest.approx((0.5**2 + 3 * 0.9**2) / (0.5 + 3 * 0.9))


def test_boxes_alone() -> None:
    """Of a model without masks."""
    size = (64, 112)
    grid = TileGrid(size, 64, 0.25)
    merger = SceneMerger(grid, 2, 2)
    for tile, boxes in zip(grid.tiles, ([[30, 5, 66, 20], [2, 30, 10, 40]], [[-2, 4, 30, 21]]), strict=True):
        count = len(boxes)
        instances = InstanceData(
            bboxes=torch.tensor(boxes, dtype=torch.float32),
            labels=torch.zeros(count, dtype=int),
            scores=torch.ones(count),
        )
        merger.add(tile, DetDataSample(pred_instances=instances))
    results = merger.finish()
    assert results.segments is None and [one.rle(size) for one in results.instances] == [None, None]
    assert {one.box for one in results.instances} == {(30, 4, 78, 21), (2, 30, 10, 40)}


def test_nothing_anywhere() -> None:
    results, panoptic = two_tiles({}, {})
    assert results.instances == [] and [one.label for one in results.segments] == [3] and (panoptic == 1).all()


def test_what_cannot_be_put_together() -> None:
    grid = TileGrid((64, 112), 64, 0.25)
    with pytest.raises(ValueError, match=r'merge_iou of tiles must lie in \(0, 1\], got 0'):
        SceneMerger(grid, 1, 1, merge_iou=0)
    with pytest.raises(ValueError, match=r'the size \(32, 64\), the tile \(64, 64\)'):
        SceneMerger(grid, 2, 3).add(grid.tiles[0], blob((32, 64), a=(slice(1, 9), slice(3, 8), 1, 0.5)))
    with pytest.raises(ValueError, match='lack pred_sem_seg'):
        SceneMerger(grid, 2, 3, semantic=np.zeros(grid.size, np.uint8)).add(grid.tiles[0], DetDataSample())
