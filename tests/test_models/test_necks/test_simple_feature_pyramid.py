import pytest
import torch

from mmmaskdino.models.necks import SimpleFeaturePyramid


def test_four_strides_from_one_map():
    neck = SimpleFeaturePyramid(in_channels=16, out_channels=12)
    maps = neck([torch.randn(2, 16, 4, 6)])
    assert [tuple(m.shape) for m in maps] == [(2, 12, 16, 24), (2, 12, 8, 12), (2, 12, 4, 6), (2, 12, 2, 3)]
    sum(m[..., 0].sum() for m in maps).backward()
    assert [name for name, p in neck.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_a_cell_stays_where_it_is():
    """What changes in one cell of the map is seen around its place in every map."""
    neck = SimpleFeaturePyramid(in_channels=16, out_channels=12)
    image = torch.randn(1, 16, 8, 8)
    changed = image.clone()
    changed[..., 6, 2] += 5
    with torch.no_grad():
        for before, after in zip(neck([image]), neck([changed]), strict=True):
            cells = (before - after).abs().sum((0, 1)).nonzero().float() + 0.5
            center = cells.mean(0) / torch.tensor(before.shape[-2:])
            torch.testing.assert_close(center, torch.tensor([6.5, 2.5]) / 8, rtol=0, atol=0.1)


def test_channels_that_cannot_be_halved_twice():
    with pytest.raises(ValueError, match='multiple of 4.*got 18'):
        SimpleFeaturePyramid(18)


def test_several_maps_are_rejected():
    with pytest.raises(ValueError, match=r'takes one map, got 2 of \[\(1, 16, 4, 4\), .*out_strides'):
        SimpleFeaturePyramid(16)([torch.zeros(1, 16, 4, 4)] * 2)
