import numpy as np
import pytest
import torch
from mmdet.structures.mask import BitmapMasks, PolygonMasks, encode_mask_results
from mmengine.structures import PixelData

from mmmaskdino.results import label_map, mask_array, one_mask

MASKS = np.zeros((2, 6, 8), bool)
MASKS[0, 1:3, 2:5] = MASKS[1, 4:, :] = True
SQUARE = [2, 1, 5, 1, 5, 3, 2, 3]


@pytest.mark.parametrize(
    'masks',
    [
        torch.from_numpy(MASKS),
        torch.from_numpy(MASKS.astype(np.uint8)),
        BitmapMasks(MASKS.astype(np.uint8), 6, 8),
        PolygonMasks([[np.array(SQUARE)], [np.array([0, 4, 8, 4, 8, 6, 0, 6])]], 6, 8),
        encode_mask_results(MASKS),
    ],
)
def test_masks_of_any_form(masks):
    found = mask_array(masks)
    assert found.dtype == bool and np.array_equal(found, MASKS)


def test_one_mask():
    for mask in (torch.from_numpy(MASKS)[1], encode_mask_results(MASKS)[1]):
        found = one_mask(mask)
        assert found.dtype == bool and np.array_equal(found, MASKS[1])


def test_no_masks():
    assert mask_array([]).shape == (0, 0, 0)
    assert mask_array(torch.zeros(0, 6, 8, dtype=torch.bool)).shape == (0, 6, 8)


@pytest.mark.parametrize('name', ['sem_seg', 'data'])
@pytest.mark.parametrize('kind', [torch.from_numpy, np.asarray])
def test_maps_of_both_libraries(name, kind):
    values = np.arange(48).reshape(1, 6, 8)
    assert np.array_equal(label_map(PixelData(**{name: kind(values)})), values[0])
