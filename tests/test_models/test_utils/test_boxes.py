import pytest
import torch

from mmmaskdino.models.utils import boxes_from_query_masks, cxcywh_to_xyxy, masks_to_boxes, normalize_boxes


@pytest.fixture
def record(golden_ops):
    return golden_ops['mask_to_box']


def test_recorded_tight_boxes(record):
    boxes, filled = masks_to_boxes(record['masks'])
    assert filled.tolist() == [False] + [True] * 6
    torch.testing.assert_close(boxes, record['bitmask_xyxy'])


@pytest.mark.parametrize('convention', ['bitmask', 'mask2box'])
def test_recorded_initial_boxes(record, convention):
    predicted = torch.full((1, 7, 4), 0.3)
    boxes = boxes_from_query_masks(record['masks'][None], predicted, convention)
    torch.testing.assert_close(boxes[0], record[f'{convention}_refpoint'], rtol=1e-5, atol=2e-6)


def test_tight_keeps_the_prediction_of_an_empty_mask(record):
    predicted = torch.rand(1, 7, 4)
    boxes = boxes_from_query_masks(record['masks'][None], predicted, 'tight')
    assert torch.equal(boxes[0, 0], predicted[0, 0])
    torch.testing.assert_close(boxes[0, 1:], record['bitmask_refpoint'][1:], rtol=1e-5, atol=2e-6)


def test_any_leading_dimensions_and_no_masks():
    masks = torch.rand(2, 3, 5, 8, 11) > 0.9
    boxes, filled = masks_to_boxes(masks)
    assert boxes.shape == (2, 3, 5, 4) and filled.shape == (2, 3, 5)
    for mask, box, has_pixel in zip(masks.flatten(0, 2), boxes.flatten(0, 2), filled.flatten(), strict=True):
        y, x = mask.nonzero(as_tuple=True)
        assert has_pixel == (len(x) > 0)
        expected = [x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else [0, 0, 0, 0]
        assert box.tolist() == [float(v) for v in expected]
    assert masks_to_boxes(torch.zeros(0, 8, 11, dtype=torch.bool))[0].shape == (0, 4)


def test_boxes_there_and_back():
    boxes = torch.rand(5, 4)
    pixels = cxcywh_to_xyxy(boxes) * torch.tensor([96, 64, 96, 64])
    torch.testing.assert_close(normalize_boxes(pixels, (64, 96)), boxes)


def test_recorded_box_formats(golden_ops):
    record = golden_ops['boxes']
    torch.testing.assert_close(cxcywh_to_xyxy(record['cxcywh_1']), record['xyxy_1'])
    torch.testing.assert_close(normalize_boxes(record['xyxy_1'], (1, 1)), record['back_1'])


def test_canvas_is_height_and_width():
    assert normalize_boxes(torch.tensor([[0.0, 0.0, 96.0, 32.0]]), (64, 96)).tolist() == [[0.5, 0.25, 1.0, 0.5]]
