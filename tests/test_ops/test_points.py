import pytest
import torch
import torch.nn.functional as F

from mmmaskdino.models.layers import decode_masks
from mmmaskdino.ops import points as points_module
from mmmaskdino.ops.points import PointFeatures, move_out, sample_binary_masks

BORDER = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.5, 1e-4], [0.999, 0.3]])


def grid_sample(maps, points):
    """The plain way: (n, h, w) at (num_points, 2) -> (n, num_points)."""
    grid = (2 * points - 1)[None, None].expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps[:, None].float(), grid, align_corners=False)[:, 0, 0]


@pytest.mark.parametrize('size', [(1, 1), (1, 7), (9, 1), (8, 13), (64, 96)])
def test_binary_masks_as_by_grid_sampling_their_floats(size):
    masks, points = torch.rand(5, *size) > 0.5, torch.cat([torch.rand(200, 2), BORDER])
    got = sample_binary_masks(masks, points)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, grid_sample(masks, points), rtol=1e-5, atol=1e-5)


def test_no_masks():
    assert sample_binary_masks(torch.zeros(0, 8, 13, dtype=torch.bool), torch.rand(20, 2)).shape == (0, 20)


def test_point_in_the_middle_of_a_pixel_is_the_pixel():
    masks = torch.rand(3, 4, 6) > 0.5
    y, x = torch.meshgrid(torch.arange(4), torch.arange(6), indexing='ij')
    points = torch.stack([(x + 0.5) / 6, (y + 0.5) / 4], -1).flatten(0, 1)
    torch.testing.assert_close(sample_binary_masks(masks, points), masks.flatten(1).float())


# More points than cells: maps of the logits are sampled; fewer, or another device: the features are.
@pytest.mark.parametrize('on_host', [True, False])
@pytest.mark.parametrize('num_points', [300, 50])
def test_logits_and_gradients_as_by_grid_sampling_the_masks(num_points, on_host, monkeypatch):
    monkeypatch.setattr(points_module, 'is_host', lambda tensor: on_host)
    features, embeds = torch.randn(16, 8, 13, requires_grad=True), torch.randn(7, 16, requires_grad=True)
    points = torch.cat([torch.rand(num_points, 2), BORDER])
    sampled = PointFeatures.sample(features, points)
    assert (sampled.cells is None) == (num_points < 8 * 13 or not on_host)
    got = sampled.logits(embeds)
    want = grid_sample(decode_masks(embeds[None], features[None])[0], points)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sampled.first(20).logits(embeds), got[:, :20], rtol=1e-4, atol=1e-4)
    weights = torch.randn_like(got)
    for ours, theirs in zip(
        *(torch.autograd.grad((x * weights).sum(), (features, embeds)) for x in (got, want)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize('num_points', [300, 50])
def test_logits_are_float32_in_half_precision(num_points):
    sampled = PointFeatures.sample(torch.randn(16, 8, 13).bfloat16(), torch.rand(num_points, 2))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert sampled.logits(torch.randn(3, 16).bfloat16()).dtype == torch.float32


def test_points_move_out_of_ignored_pixels():
    ignored = torch.rand(9, 14) > 0.3
    points = torch.rand(20000, 2)
    moved = move_out(points, ignored)
    x, y = (moved * torch.tensor([14.0, 9.0])).long().unbind(-1)
    assert not ignored[y, x].any()
    stays = (moved == points).all(-1)
    was_in = ignored[(points[:, 1] * 9).long(), (points[:, 0] * 14).long()]
    assert torch.equal(stays, ~was_in)
    # Each labelled pixel gets its share.
    counts = torch.zeros(9, 14).index_put((y, x), torch.ones(len(x)), accumulate=True)[~ignored]
    assert counts.min() > 0.7 * counts.mean() and counts.max() < 1.3 * counts.mean()


def test_points_where_all_is_ignored_stay_in_the_image():
    moved = move_out(torch.rand(50, 2), torch.ones(4, 6, dtype=torch.bool))
    assert moved.min() >= 0 and moved.max() <= 1
