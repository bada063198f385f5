"""Boxes that are joined with those of their masks, worked out by hand."""

import pytest
import torch
from mmdet.structures.mask import encode_mask_results

from mmmaskdino.models.seg_heads import MaskDINOFusionHead
from mmmaskdino.models.seg_heads.image_queries import ImageFrames, ImageQueries
from mmmaskdino.models.seg_heads.mask_boxes import join_with_masks
from mmmaskdino.models.seg_heads.whole_maps import instances

MASKS = torch.zeros(2, 8, 12, dtype=torch.bool)
MASKS[0, 2:5, 4:10] = True
BOXES = torch.tensor([[2.0, 1, 8, 5], [-1, 0, 3, 4]])


@pytest.mark.parametrize('coded', [False, True])
@pytest.mark.parametrize(
    ('weight', 'expected'), [(1.0, [4, 2, 10, 5]), (0.5, [3, 1.5, 9, 5]), (0.25, [2.5, 1.25, 8.5, 5])]
)
def test_sides_by_hand(coded, weight, expected):
    masks = encode_mask_results(MASKS.numpy()) if coded else MASKS
    joined = join_with_masks(BOXES, masks, weight)
    assert joined.dtype == BOXES.dtype
    assert joined.tolist() == [expected, BOXES[1].tolist()]  # the second mask is empty


def test_no_objects():
    for masks in (MASKS[:0], []):
        assert join_with_masks(BOXES[:0], masks, 0.5).shape == (0, 4)


@pytest.fixture
def queries():
    """Boxes 0.5 to the right of their masks, on a canvas of 32 x 48 whose last 16 columns are padding."""
    masks = torch.full((2, 8, 12), -9.0)
    masks[0, :4, :4] = masks[1, 4:, 4:8] = 9.0
    boxes = torch.tensor([[10 / 48, 0.25, 16 / 48, 0.5], [26 / 48, 0.75, 16 / 48, 0.5]])
    return ImageQueries(torch.tensor([[4.0], [3.0]]), boxes, torch.eye(2), masks)


@pytest.mark.parametrize('rle_masks', [False, True])
def test_instances(queries, rle_masks):
    frames = ImageFrames((32, 48), (32, 32), (64, 64))
    plain, joined, of_masks = (
        MaskDINOFusionHead(1, test_cfg=dict(rle_masks=rle_masks, mask_box_weight=weight)).predict_image(queries, frames)
        for weight in (0.0, 0.5, 1.0)
    )
    plain, joined, of_masks = (x['ins_results'] for x in (plain, joined, of_masks))
    assert plain.bboxes[0].tolist() == pytest.approx([4, 0, 36, 32])
    assert of_masks.bboxes[0].tolist() == pytest.approx([0, 0, 32, 32], abs=2)
    torch.testing.assert_close(joined.bboxes, (plain.bboxes + of_masks.bboxes) / 2)
    assert torch.equal(joined.scores, plain.scores)


def test_exported_results(queries):
    fusion = MaskDINOFusionHead(1, test_cfg=dict(mask_box_weight=0.5))
    inside = torch.ones(32, 48, dtype=torch.bool)
    _, _, boxes, _ = instances(fusion, queries, (32, 48), inside)
    expected = fusion.predict_image(queries, ImageFrames((32, 48), (32, 48), (32, 48)))['ins_results'].bboxes
    torch.testing.assert_close(boxes, expected)


def test_a_model_without_masks_keeps_its_boxes(queries):
    fusion = MaskDINOFusionHead(1, test_cfg=dict(mask_box_weight=1.0))
    boxes_alone = queries._replace(mask_embeds=None, mask_features=None)
    result = fusion.predict_image(boxes_alone, ImageFrames((32, 48), (32, 32), (64, 64)))['ins_results']
    assert result.bboxes[0].tolist() == pytest.approx([4, 0, 36, 32])
