import pytest
import torch
import torch.nn.functional as F

from mmmaskdino.models.seg_heads.image_queries import ImageFrames
from mmmaskdino.ops import device, mask_strips
from mmmaskdino.ops.mask_strips import resized_bands


@pytest.mark.parametrize('output', [(23, 17), (46, 17), (101, 40), (7, 5), (24, 18), (1, 1), (22, 90)])
@pytest.mark.parametrize('heights', [[23], [5, 5, 13], [1] * 23, [20, 3]])
@pytest.mark.parametrize('elements', [2**24, 100])
def test_bands_as_a_whole(monkeypatch, output, heights, elements):
    """However the maps are cut, the result is the plain bilinear resize."""
    monkeypatch.setattr(device, 'HOST_VALUES', 8 * elements)
    maps = torch.randn(3, 23, 17)
    got = torch.cat(list(resized_bands(iter(maps.split(heights, 1)), (23, 17), output)), 1)
    expected = F.interpolate(maps[None], size=output, mode='bilinear', align_corners=False)[0]
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_few_rows_are_held():
    """A row of the result comes as soon as the rows it needs are there."""
    given = []

    def bands():
        for row in range(64):
            given.append(row)
            yield torch.zeros(1, 1, 8)

    done = 0
    for rows in resized_bands(bands(), (64, 8), (128, 8)):
        assert len(given) <= done / 2 + 3
        done += rows.shape[1]
    assert done == 128


def test_strips_are_cut_for_the_maps_themselves(monkeypatch):
    """Unless the caller says that it makes more."""
    monkeypatch.setattr(device, 'HOST_VALUES', 800)
    frames = ImageFrames((20, 10), (20, 10), (20, 10))
    maps = torch.randn(1, 5, 5)
    assert [rows.stop - rows.start for rows, _ in mask_strips.mask_strips(maps, frames)] == [10, 10]
    assert [rows.stop - rows.start for rows, _ in mask_strips.mask_strips(maps, frames, num_maps=5)] == [2] * 10


def test_best_classes():
    scores = torch.randn(4, 11, 6)
    assert torch.equal(mask_strips.best_classes(iter(scores.split([5, 1, 5], 1))), scores.argmax(0))
