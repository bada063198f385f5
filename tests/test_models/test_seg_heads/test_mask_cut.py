"""Masks that end where their boxes end: cells worked out by hand, and all results of the fusion head."""

from __future__ import annotations

import pytest
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET

from mmmaskdino.models.seg_heads import MaskDINOFusionHead
from mmmaskdino.models.seg_heads.image_queries import ImageFrames, ImageQueries
from mmmaskdino.models.seg_heads.mask_cut import BACKGROUND, cut_to_boxes

FRAMES = ImageFrames((40, 40), (40, 40), (40, 40))
NAN = float('nan')


@pytest.mark.parametrize(
    ('box', 'margin', 'rows', 'columns'),
    [
        # Ten cells with centres 0.05, 0.15, ...; half a cell is 0.05.
        ((0.5, 0.3, 0.36, 0.16), 0.0, slice(2, 4), slice(3, 7)),
        ((0.5, 0.3, 0.36, 0.16), 0.25, slice(1, 5), slice(2, 8)),
        ((0.0, 1.0, 0.36, 0.16), 0.0, slice(9, 10), slice(0, 2)),  # reaches beyond the corner
        ((0.5, 0.5, 3.0, 3.0), 0.0, slice(0, 10), slice(0, 10)),  # larger than the image
        ((0.43, 0.43, 0.0, 0.0), 0.1, slice(4, 5), slice(4, 5)),  # empty: the cell it lies in
        ((NAN, NAN, NAN, NAN), 0.1, slice(0, 10), slice(0, 10)),
    ],
)
def test_cells_by_hand(box, margin, rows, columns) -> None:
    logits = torch.full((1, 10, 10), 3.0)
    expected = torch.full((1, 10, 10), BACKGROUND)
    expected[:, rows, columns] = 3
    assert torch.equal(cut_to_boxes(logits, torch.tensor([box]), margin), expected)
    assert (logits == 3).all(), 'the argument is left as it is'


@pytest.fixture
def queries() -> ImageQueries:
    """A thing in the left upper quarter and stuff on the right, whose masks both cover everything but one column."""
    boxes = torch.tensor([[0.25, 0.25, 0.5, 0.5], [0.75, 0.5, 0.5, 1.0]])
    cls_logits = torch.tensor([[4.0, -9.0], [-9.0, 2.0]])
    features = torch.ones(1, 10, 10)
    return ImageQueries(cls_logits, boxes, torch.tensor([[5.0], [4.0]]), features)


def fusion(box_margin: float | None) -> MaskDINOFusionHead:
    settings = dict(panoptic_on=True, semantic_on=True, box_margin=box_margin, overlap_thr=0.1)
    return MaskDINOFusionHead(1, 1, test_cfg=settings)


def test_instances_end_at_their_boxes_and_score_what_is_left(queries: ImageQueries) -> None:
    whole, cut = (fusion(m).predict_image(queries, FRAMES)['ins_results'] for m in (None, 0.0))
    assert whole.masks[0].all()
    rows, columns = cut.masks[0].nonzero().unbind(1)
    assert 19 <= rows.max() <= 22 and 19 <= columns.max() <= 22 and rows.min() == columns.min() == 0
    assert torch.equal(cut.bboxes, whole.bboxes)
    assert cut.scores[0].item() == pytest.approx(0.982 * 0.993, abs=0.02)  # sigmoids of 4 and 5


def test_stuff_is_never_cut(queries: ImageQueries) -> None:
    results = fusion(0.0).predict_image(queries, FRAMES)
    panoptic, semantic = results['pan_results'].sem_seg[0], results['sem_results'].sem_seg[0]
    assert (
        (panoptic[:19, :19] == INSTANCE_OFFSET).all() and (panoptic[23:] == 1).all() and (panoptic[:, 23:] == 1).all()
    )
    assert (semantic[:19, :19] == 0).all() and (semantic[23:] == 1).all() and (semantic[:, 23:] == 1).all()
    whole = fusion(None).predict_image(queries, FRAMES)['pan_results'].sem_seg[0]
    assert (whole == INSTANCE_OFFSET).all()


def test_a_query_that_may_be_stuff_is_whole_in_semantic_maps(queries: ImageQueries) -> None:
    doubtful = queries._replace(cls_logits=torch.tensor([[-2.0, -2.5], [-9.0, -9.0]]))
    assert torch.equal(fusion(0.0).masks_of_all(doubtful), doubtful.mask_logits(slice(None)))


@pytest.mark.parametrize('margin', [-0.1, '0.1', True])
def test_margins_that_are_rejected(margin) -> None:
    with pytest.raises(ValueError, match='test_cfg.box_margin must be None or at least 0'):
        fusion(margin)
