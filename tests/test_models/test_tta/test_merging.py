"""Queries of several views become one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmmaskdino.models.seg_heads.image_queries import ImageFrames, ImageQueries
from mmmaskdino.models.seg_heads.maskdino_fusion_head import MaskDINOFusionHead
from mmmaskdino.models.tta.merging import group_queries, merged_queries, united_queries
from mmmaskdino.models.tta.views import View

SIZE = (32, 48)
LEFT, RIGHT = (slice(None), slice(0, 5)), (slice(None), slice(6, 12))


def make_view(probs: list[list[float]], areas: list[tuple], boxes: list[list[float]], strength: float = 4.0) -> View:
    """Queries with these class probabilities, masks that are positive in these areas of the (8, 12) grid, and boxes."""
    masks = torch.full((len(areas), 8, 12), -strength)
    for mask, area in zip(masks, areas, strict=True):
        mask[area] = strength
    queries = ImageQueries(torch.tensor(probs).logit(), torch.tensor(boxes), torch.eye(len(areas)), masks)
    return View(queries, ImageFrames(SIZE, SIZE, SIZE), ())


@pytest.fixture
def fusion() -> MaskDINOFusionHead:
    return MaskDINOFusionHead(2, test_cfg=dict(panoptic_on=True, semantic_on=True, temperature=None))


BOXES = [[0.2, 0.5, 0.4, 1.0], [0.75, 0.5, 0.5, 1.0]]


def test_a_single_upright_view_is_left_alone(fusion) -> None:
    view = make_view([[0.9, 0.1]], [LEFT], BOXES[:1])
    assert merged_queries([view], view, fusion, 0.5) is view.queries
    assert united_queries([view], view) is view.queries


def test_objects_of_two_views(fusion) -> None:
    """One seen twice, and one once: its score is halved."""
    first = make_view([[0.8, 0.1], [0.1, 0.6]], [LEFT, RIGHT], BOXES)
    second = make_view([[0.6, 0.3]], [LEFT], [[0.25, 0.5, 0.5, 1.0]], strength=2.0)
    merged = merged_queries([first, second], first, fusion, 0.5)
    torch.testing.assert_close(merged.cls_logits.sigmoid(), torch.tensor([[0.7, 0.2], [0.05, 0.3]]))
    weight = torch.tensor([0.8, 0.6]) / 1.4
    torch.testing.assert_close(merged.boxes[0, 0], (weight * torch.tensor([0.2, 0.25])).sum())
    torch.testing.assert_close(merged.boxes[1], torch.tensor(BOXES[1]))
    masks = merged.mask_logits(slice(None))
    assert masks[0, 0, 0] == 3.0 and masks[0, 0, 11] == -3.0 and masks[1, 0, 11] == 4.0


def test_the_same_view_twice_changes_nothing(fusion) -> None:
    view = make_view([[0.8, 0.1], [0.1, 0.6]], [LEFT, RIGHT], BOXES)
    merged = merged_queries([view, view._replace()], view, fusion, 0.5)
    torch.testing.assert_close(merged.cls_logits, view.queries.cls_logits)
    torch.testing.assert_close(merged.boxes, view.queries.boxes)
    assert torch.equal(merged.masks, view.queries.mask_features)
    segments = fusion.panoptic_map(merged, view.frames)
    assert torch.equal(segments, fusion.panoptic_map(view.queries, view.frames)) and len(segments.unique()) == 3


@pytest.mark.parametrize('panoptic_on', [True, False])
def test_segments_are_not_limited_with_the_instances(panoptic_on: bool) -> None:
    fusion = MaskDINOFusionHead(2, test_cfg=dict(panoptic_on=panoptic_on, max_per_image=1, temperature=None))
    view = make_view([[0.8, 0.1], [0.1, 0.6], [0.2, 0.1]], [LEFT, RIGHT, RIGHT], [*BOXES, BOXES[1]])
    merged = merged_queries([view, view._replace()], view, fusion, 0.5)
    assert len(merged.boxes) == (2 if panoptic_on else 1)  # the third is below object_mask_thr
    if panoptic_on:
        assert torch.equal(fusion.panoptic_map(merged, view.frames), fusion.panoptic_map(view.queries, view.frames))


@pytest.mark.parametrize(('probs', 'place'), [([[0.1, 0.6]], 0), ([[0.6, 0.3]], 1)])
def test_another_class_or_place_stays_apart(fusion, probs, place) -> None:
    first = make_view([[0.8, 0.1]], [LEFT], BOXES[:1])
    second = make_view(probs, [(LEFT, RIGHT)[place]], [BOXES[place]])
    merged = merged_queries([first, second], first, fusion, 0.5)
    torch.testing.assert_close(merged.cls_logits.sigmoid(), torch.tensor([[0.8, 0.1], *probs]) / 2)


@pytest.mark.parametrize(('num_things', 'num_groups'), [(2, 1), (0, 2)])
def test_boxes_of_things_tell_as_well(num_things: int, num_groups: int) -> None:
    fusion = MaskDINOFusionHead(num_things, 2 - num_things, test_cfg=dict(instance_on=False, panoptic_on=True))
    views = [make_view([[0.8, 0.1]], [area], BOXES[:1]) for area in (LEFT, RIGHT)]
    assert len(merged_queries(views, views[0], fusion, 0.5).boxes) == num_groups


def test_without_masks_boxes_decide() -> None:
    fusion = MaskDINOFusionHead(2, test_cfg=dict(with_masks=False))
    views = [make_view([[0.8, 0.1]], [LEFT], [box]) for box in (BOXES[0], [0.21, 0.5, 0.4, 1.0], BOXES[1])]
    views = [view._replace(queries=view.queries._replace(mask_embeds=None, mask_features=None)) for view in views]
    merged = merged_queries(views, views[0], fusion, 0.6)
    assert merged.mask_embeds is None and len(merged.boxes) == 2
    torch.testing.assert_close(merged.boxes[0, 0], torch.tensor(0.205))


def test_softmax_models() -> None:
    """The share of no object is what the classes leave."""
    fusion = MaskDINOFusionHead(2, use_sigmoid=False)
    probs = torch.tensor([[0.7, 0.1, 0.2]])
    view = make_view([[0.5, 0.5]], [LEFT], BOXES[:1])
    views = [view._replace(queries=view.queries._replace(cls_logits=probs.log())) for _ in range(2)]
    views[1] = views[1]._replace(queries=views[1].queries._replace(cls_logits=torch.tensor([[0.3, 0.3, 0.4]]).log()))
    merged = merged_queries(views, views[0], fusion, 0.5)
    torch.testing.assert_close(merged.cls_logits.softmax(-1), torch.tensor([[0.5, 0.2, 0.3]]))


def test_class_maps_are_averaged(fusion) -> None:
    first = make_view([[0.8, 0.1], [0.1, 0.6]], [LEFT, RIGHT], BOXES)
    second = make_view([[0.6, 0.3]], [LEFT], BOXES[:1])
    frames = first.frames
    expected = sum(fusion.semantic_scores(view.queries, frames) for view in (first, second))
    torch.testing.assert_close(fusion.semantic_scores(united_queries([first, second], first), frames), expected)


def test_groups_have_one_of_each_view_and_the_most_similar() -> None:
    scores, labels = np.array([0.9, 0.5, 0.8, 0.7]), np.zeros(4, int)
    of_view = np.array([0, 0, 1, 1])
    similarity = np.array([[1, 1, 0.7, 0.9], [1, 1, 0.8, 0.6], [0.7, 0.8, 1, 1], [0.9, 0.6, 1, 1]])
    assert group_queries(scores, labels, of_view, similarity, 0.5).tolist() == [0, 1, 1, 0]
    assert group_queries(scores, labels, of_view, similarity, 0.95).tolist() == [0, 3, 1, 2]


def test_groups_of_tiles_go_on_and_take_parts_but_no_doubles() -> None:
    """Tiles 0, 1, 2 in a row: the object of query 0 goes on in 1 and 2 (two parts), and 4; 3 is a poor double of 1."""
    scores = np.array([0.9, 0.8, 0.7, 0.3, 0.6])
    of_view, labels = np.array([0, 1, 1, 1, 2]), np.zeros(5, int)
    similarity = np.eye(5)
    for first, second, value in ((0, 1, 0.7), (0, 2, 0.6), (0, 3, 0.9), (1, 3, 0.8), (2, 4, 0.6)):
        similarity[first, second] = similarity[second, first] = value
    assert group_queries(scores, labels, of_view, similarity, 0.5, whole=False).tolist() == [0, 0, 0, 1, 0]
    scores[3] = 0.5  # good enough, but in the place of query 1
    assert group_queries(scores, labels, of_view, similarity, 0.5, whole=False).tolist() == [0, 0, 0, 1, 0]
    similarity[1, 3] = similarity[3, 1] = 0.1  # a part of its own
    assert group_queries(scores, labels, of_view, similarity, 0.5, whole=False).tolist() == [0, 0, 0, 0, 0]
    assert group_queries(scores, labels, of_view, similarity, 0.5).tolist() == [0, 1, 2, 0, 2]
