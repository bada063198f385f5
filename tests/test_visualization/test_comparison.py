import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, encode_mask_results
from mmengine.structures import InstanceData, PixelData

from mmmaskdino.visualization import draw_comparison, draw_contact_sheet, panoptic_ground_truth
from mmmaskdino.visualization.comparison import GAP, TITLE_HEIGHT

META = dict(classes=('cat', 'sky'), palette=[(255, 0, 0), (0, 0, 255)])
HEIGHT, WIDTH = 40, 60


@pytest.fixture
def image():
    return np.full((HEIGHT, WIDTH, 3), 128, np.uint8)


@pytest.fixture
def data_sample():
    """A cat under the sky, annotated as mmdet does; the prediction has a second, doubtful cat."""
    mask = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    mask[:, 20:36, 10:50] = 1
    boxes = torch.tensor([[10.0, 20, 50, 36]]).repeat(2, 1)
    labels = torch.zeros(2, dtype=torch.long)
    sample = DetDataSample()
    sample.gt_instances = InstanceData(
        bboxes=HorizontalBoxes(boxes[:1]), labels=labels[:1], masks=BitmapMasks(mask[:1], HEIGHT, WIDTH)
    )
    semantic = torch.full((1, HEIGHT, WIDTH), 255, dtype=torch.uint8)
    semantic[:, :20] = 1
    semantic[0, mask[0] > 0] = 0
    sample.gt_sem_seg = PixelData(sem_seg=semantic)
    sample.gt_panoptic_seg = panoptic_ground_truth(sample, 2)
    sample.pred_instances = InstanceData(
        bboxes=boxes, labels=labels, masks=torch.from_numpy(mask).bool(), scores=torch.tensor([0.9, 0.1])
    )
    sample.pred_panoptic_seg = sample.gt_panoptic_seg
    return sample


def columns_of(row, scale):
    width = WIDTH * scale
    assert (row.shape[1] + GAP) % (width + GAP) == 0
    return [row[TITLE_HEIGHT:, start : start + width] for start in range(0, row.shape[1], width + GAP)]


def test_panoptic_ground_truth(data_sample):
    segments = data_sample.gt_panoptic_seg.sem_seg
    assert segments.dtype == torch.int32
    assert segments.shape == (1, HEIGHT, WIDTH)
    assert segments[0, 0, 0] == 1  # stuff
    assert segments[0, 30, 30] == 1000  # the first cat
    assert segments[0, 39, 0] == 2  # void


def test_columns_show_what_is_there(image, data_sample):
    columns = columns_of(draw_comparison(image, data_sample, META, scale=3), 3)
    assert len(columns) == 5
    assert all(column.shape == (3 * HEIGHT, 3 * WIDTH, 3) for column in columns)
    np.testing.assert_array_equal(columns[0], 128)
    inside = (slice(80, 100), slice(60, 120))
    for column in columns[1:]:
        red, _, blue = column[inside].reshape(-1, 3).mean(0)
        assert red > blue + 50
    for column in columns[1:3]:
        np.testing.assert_array_equal(column[:50], 128)  # stuff is no object
    for column in columns[3:]:
        assert column[5:15, 5:15, 2].mean() > 180
    np.testing.assert_array_equal(columns[3], columns[4])


def test_score_threshold(image, data_sample):
    data_sample.pred_instances.masks[1] = False
    data_sample.pred_instances.masks[1, :10, :10] = True
    data_sample.pred_instances.bboxes[1] = torch.tensor([0.0, 0, 10, 10])
    changed = [
        (columns_of(draw_comparison(image, data_sample, META, scale=3, score_thr=thr), 3)[2][:30, :30] != 128).any()
        for thr in (0.3, 0.05)
    ]
    assert changed == [False, True]


@pytest.mark.parametrize('score_thr', [0.3, 1.0])
def test_masks_as_run_lengths(image, data_sample, score_thr):
    expected = draw_comparison(image, data_sample, META, score_thr=score_thr)
    data_sample.pred_instances.masks = encode_mask_results(data_sample.pred_instances.masks.numpy())
    np.testing.assert_array_equal(draw_comparison(image, data_sample, META, score_thr=score_thr), expected)


def test_missing_results_give_no_column(image, data_sample):
    del data_sample.pred_panoptic_seg
    del data_sample.gt_panoptic_seg
    assert len(columns_of(draw_comparison(image, data_sample, META, scale=1), 1)) == 3


def test_small_images_are_enlarged_and_large_ones_not(image):
    assert draw_comparison(image, DetDataSample(), META).shape[1] == 6 * WIDTH
    large = np.zeros((500, 700, 3), np.uint8)
    assert draw_comparison(large, DetDataSample(), META).shape == (500 + TITLE_HEIGHT, 700, 3)


@pytest.mark.parametrize('key', ['pred_instances', 'pred_panoptic_seg'])
def test_other_size_is_an_error(image, data_sample, key):
    if key == 'pred_instances':
        data_sample.pred_instances.masks = torch.zeros(2, 10, 10, dtype=torch.bool)
    else:
        data_sample.pred_panoptic_seg = PixelData(sem_seg=torch.zeros(1, 10, 10))
    with pytest.raises(
        ValueError, match=r'expected the size of the image \(height, width\) \(40, 60\), got \(10, 10\)'
    ):
        draw_comparison(image, data_sample, META)


def test_contact_sheet():
    pictures = [np.full((10, 20, 3), 1, np.uint8), np.full((10, 40, 3), 2, np.uint8)]
    sheet = draw_contact_sheet(pictures, max_width=30)
    assert sheet.shape == (10 + GAP + 8, 30, 3)
    assert (sheet[:10, :20] == 1).all()
    assert (sheet[:10, 20:] == 255).all()
    assert (sheet[10 + GAP :] == 2).all()
