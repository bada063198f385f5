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


@pytest.fixture
def stray() -> torch.Tensor:
    """20 x 20 pixels from (10, 10) on, and one more in the far corner of a map of 40 x 40."""
    mask = torch.zeros(1, 1, 40, 40, dtype=torch.bool)
    mask[..., 10:30, 10:30] = mask[..., 39, 39] = True
    return mask


@pytest.mark.parametrize(
    ('convention', 'predicted', 'expected'),
    [
        ('tight', (0.5, 0.5, 0.4, 0.4), (10, 10, 40, 40)),
        # Grown by a tenth, the predicted box reaches from 10.4 to 29.6: cells from 10 to 29 have their centres there.
        ('cut', (0.5, 0.5, 0.4, 0.4), (10, 10, 30, 30)),
        ('cut', (0.5, 0.25, 0.4, 0.2), (10, 10, 30, 15)),
        ('cut', (0.1, 0.1, 0.1, 0.1), (2, 2, 6, 6)),  # nothing of the mask is left: the predicted box
        ('quantiles', (0.1, 0.1, 0.1, 0.1), (10, 10, 30, 30)),  # of 401 pixels, one is less than a hundredth
        ('agreed', (0.5, 0.5, 0.5, 0.5), (10, 10, 30, 30)),  # IoU 400 / 900: the predicted box
        ('agreed', (0.625, 0.625, 0.6, 0.6), (10, 10, 40, 40)),
    ],
)
def test_starts_that_a_stray_pixel_cannot_spoil(stray, convention, predicted, expected):
    boxes = boxes_from_query_masks(stray, torch.tensor([[predicted]]), convention)
    got = cxcywh_to_xyxy(boxes)[0, 0] * 40
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float), rtol=0, atol=1e-2)


@pytest.mark.parametrize('convention', ['cut', 'quantiles', 'agreed'])
def test_an_empty_mask_keeps_the_predicted_box(convention):
    predicted = torch.rand(1, 2, 4)
    masks = torch.zeros(1, 2, 8, 11, dtype=torch.bool)
    assert torch.equal(boxes_from_query_masks(masks, predicted, convention), predicted)


@pytest.mark.parametrize('convention', ['cut', 'quantiles'])
def test_the_whole_canvas_and_a_single_pixel(convention):
    masks = torch.ones(1, 2, 8, 8, dtype=torch.bool)
    masks[:, 1] = False
    masks[:, 1, 3, 5] = True
    boxes = boxes_from_query_masks(masks, torch.tensor([[[0.5, 0.5, 1.0, 1.0]] * 2]), convention)
    expected = torch.tensor([[[0.0, 0, 8, 8], [5, 3, 6, 4]]])
    torch.testing.assert_close(cxcywh_to_xyxy(boxes) * 8, expected, rtol=0, atol=1e-3)
