import multiprocessing
import re

import pytest
import torch
import torch.nn.functional as F

from mmmaskdino.models.losses import PointSampler
from mmmaskdino.ops.points import PointFeatures, sample_binary_masks
from mmmaskdino.structures import Targets


def of_masks(masks, ignored=None):
    """Targets of one image of which only the masks matter."""
    labels = torch.zeros(len(masks), dtype=torch.long)
    return Targets(labels, torch.zeros(len(masks), 4), masks, labels.bool(), ignored)


def test_recorded_uncertain_points(golden_ops):
    record = golden_ops['uncertain_points']
    sampler = PointSampler(record['num_points'], record['oversample_ratio'], record['importance_sample_ratio'])
    draws = torch.cat(record['draws'], 1)
    assert draws.shape == sampler.draw(len(draws), draws.device).shape
    sampler.draw = lambda bs, device: draws
    # Each recorded mask has candidates of its own, so each is an image with one mask here.
    targets = [of_masks(torch.ones(1, 9, 11, dtype=torch.bool))] * 3
    features, _, _ = sampler.sample(record['logits'], targets)
    for image, sampled in enumerate(features):
        logits = sampled.logits(torch.ones(1, 1))
        index = sampler.select(logits)
        chosen = logits.gather(1, index)
        torch.testing.assert_close(chosen.sort().values, record['sampled'][image].sort().values, rtol=1e-5, atol=1e-5)
        points, expected = draws[image, index[0]], record['output'][image]
        torch.testing.assert_close(points[points[:, 0].argsort()], expected[expected[:, 0].argsort()])


def test_the_most_uncertain_candidates_and_the_rest_as_drawn():
    sampler = PointSampler(num_points=20, oversample_ratio=3.0, importance_sample_ratio=0.75)
    logits = torch.randn(4, 65)
    logits[:, 60:] = 100.0  # drawn without importance: taken although certain
    index = sampler.select(logits)
    assert index.shape == (4, 20)
    assert index[:, 15:].tolist() == [[60, 61, 62, 63, 64]] * 4
    for row, chosen in zip(logits, index[:, :15], strict=True):
        rest = torch.ones(60, dtype=torch.bool)
        rest[chosen] = False
        assert rest.sum() == 45
        assert row[chosen].abs().max() <= row[:60][rest].abs().min()


def test_different_candidates_are_chosen_in_rising_order():
    """What reads them reads memory in order; the way that sorts nothing out is left for equal candidates."""
    chosen = PointSampler(num_points=20, oversample_ratio=3.0, importance_sample_ratio=0.5).select(torch.randn(6, 70))
    assert (chosen.diff(dim=1) > 0).all()


def test_selection_in_a_forked_process():
    """Threads do not survive a fork; what the parent started must not be waited for."""
    sampler, logits = PointSampler(20, 3.0, 0.75), torch.randn(40, 65)
    expected = sampler.select(logits)
    context = multiprocessing.get_context('fork')
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=lambda: writer.send(sampler.select(logits).tolist()), daemon=True)
    child.start()
    arrived = reader.poll(60)
    child.kill()
    assert arrived and reader.recv() == expected.tolist()


@pytest.mark.parametrize(('ratio', 'num_random'), [(0.0, 20), (1.0, 0)])
def test_all_random_and_all_important(ratio, num_random):
    sampler = PointSampler(num_points=20, oversample_ratio=2.0, importance_sample_ratio=ratio)
    points = sampler.draw(2, torch.device('cpu'))
    assert points.shape == (2, 40 + num_random, 2)
    index = sampler.select(torch.randn(3, 40 + num_random))
    assert index.shape == (3, 20) and ((index >= 40).sum(1) == num_random).all()


def test_points_are_uniform():
    points = PointSampler(4000, 3.0, 0.75).draw(1, torch.device('cpu'))[0]
    assert points.min() >= 0 and points.max() < 1
    counts = torch.histc(points[:, 0], 10, 0, 1)
    assert (counts - len(points) / 10).abs().max() < 0.2 * len(points) / 10


def test_samples_per_image():
    sampler = PointSampler(num_points=6, oversample_ratio=2.0, importance_sample_ratio=0.5)
    features = torch.randn(2, 16, 8, 12)
    masks = [torch.rand(3, 32, 48) > 0.5, torch.zeros(0, 32, 48, dtype=torch.bool)]
    points = sampler.draw(2, torch.device('cpu'))
    sampler.draw = lambda bs, device: points
    got_features, got_masks, _ = sampler.sample(features, [of_masks(m) for m in masks])
    assert [m.shape for m in got_masks] == [(3, 15), (0, 15)]
    embeds = torch.randn(5, 16)
    assert [f.logits(embeds).shape for f in got_features] == [(5, 15)] * 2
    alone = PointFeatures.sample(features[1], points[1])
    torch.testing.assert_close(got_features[1].logits(embeds), alone.logits(embeds))
    torch.testing.assert_close(got_masks[0], sample_binary_masks(masks[0], points[0]))


def ringed(ignored):
    """Ignore the border too, where samples fade as the reference's do."""
    return F.pad(ignored[1:-1, 1:-1], (1, 1, 1, 1), value=True)


def test_ignored_pixels_have_no_points_and_no_say():
    sampler = PointSampler(num_points=400, oversample_ratio=2.0, importance_sample_ratio=0.5)
    ignored = ringed(torch.rand(8, 12) > 0.6)
    position = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(12.0), indexing='ij'))
    (where,), (got,), _ = sampler.sample(position[None], [of_masks(~ignored[None], ignored)])
    y, x = where.logits(torch.eye(2)).round().long()
    assert not ignored[y, x].any()
    # A border to unlabelled pixels is no border of the mask.
    torch.testing.assert_close(got, torch.ones_like(got))


def test_without_anything_ignored_points_stay_as_drawn():
    sampler = PointSampler(num_points=6, oversample_ratio=2.0, importance_sample_ratio=0.5)
    points = sampler.draw(1, torch.device('cpu'))
    sampler.draw = lambda bs, device: points
    features, mask = torch.randn(1, 16, 8, 12), torch.rand(1, 32, 48) > 0.5
    plain, none_ignored = (
        sampler.sample(features, [of_masks(mask, ignored)]) for ignored in (None, torch.zeros(32, 48, dtype=torch.bool))
    )
    assert torch.equal(plain[0][0].features, none_ignored[0][0].features) and torch.equal(
        plain[1][0], none_ignored[1][0]
    )


def test_selection_takes_no_gradient():
    logits = torch.randn(2, 65, requires_grad=True)
    assert not PointSampler(20, 3.0, 0.75).select(logits).requires_grad


@pytest.mark.parametrize(
    'settings', [(0, 3.0, 0.75), (10, 0.5, 0.75), (10, 3.0, 1.5), (10, 3.0, -0.1), (10, 3.0, 0.5, 1.1)]
)
def test_rejected_settings(settings):
    got = 'got {}, {}, {} and {}'.format(*settings, *[0.0] * (4 - len(settings)))
    with pytest.raises(ValueError, match='importance_sample_ratio and box_share.*' + re.escape(got)):
        PointSampler(*settings)


@pytest.mark.parametrize('num', [1, 7, 20])
def test_as_many_points_where_candidates_are_equal_or_not_numbers(num):
    logits = torch.randn(9, 20)
    logits[2] = 0
    logits[4, :15] = -0.5
    logits[6, ::2] = torch.nan
    sampler = PointSampler(num_points=num, oversample_ratio=20 / num, importance_sample_ratio=1.0)
    chosen = sampler.select(logits)
    assert all(len(set(row.tolist())) == num for row in chosen)
    found = logits.abs().nan_to_num(torch.inf).gather(1, chosen)
    want = logits.abs().nan_to_num(torch.inf).topk(num, dim=1, largest=False).values
    torch.testing.assert_close(found.sort(1).values, want)


def test_the_smallest_where_the_last_of_them_has_equals():
    """Of the first ten values, nine are smaller than the tenth, which has equals; what is larger comes first."""
    logits = torch.arange(200.0, 100, -1).repeat(4, 1)
    logits[:, 50:59], logits[:, 80:85] = 0.5, 7.0
    chosen = PointSampler(num_points=10, oversample_ratio=10.0, importance_sample_ratio=1.0).select(logits)
    assert logits.gather(1, chosen).sort(1).values.tolist() == [[0.5] * 9 + [7.0]] * 4


def test_as_many_points_where_equal_candidates_are_as_many_as_those_that_are_missing():
    logits = torch.full((4, 20), torch.nan)
    logits[3] = 0  # 20 smallest, and none of the three other masks
    chosen = PointSampler(num_points=5, oversample_ratio=4.0, importance_sample_ratio=1.0).select(logits)
    assert all(len(set(row.tolist())) == 5 and row.max() < 20 for row in chosen)


BOX = torch.tensor([[0.5, 0.25, 0.5, 0.25]])  # grown by a tenth of its size on each side: 0.2 to 0.8, 0.1 to 0.4


def test_all_points_in_grown_boxes_by_hand():
    sampler = PointSampler(num_points=1, oversample_ratio=2.0, importance_sample_ratio=1.0, box_share=1.0)
    sampler.draw = lambda bs, device: torch.tensor([[[0.0, 0.0], [0.5, 0.5]]])
    position = torch.stack(torch.meshgrid((torch.arange(40) + 0.5) / 40, (torch.arange(60) + 0.5) / 60, indexing='ij'))
    targets = of_masks(torch.zeros(1, 80, 120, dtype=torch.bool))._replace(boxes=BOX)
    (where,), _, (first,) = sampler.sample(position[None], [targets])
    y, x = where.logits(torch.eye(2))
    torch.testing.assert_close(x, torch.tensor([0.2, 0.5]))
    torch.testing.assert_close(y, torch.tensor([0.1, 0.25]))
    assert first.tolist() == [[True, True]]


def test_own_object_first_and_stuff_everywhere():
    sampler = PointSampler(num_points=1, oversample_ratio=2.0, importance_sample_ratio=1.0, box_share=1e-9)
    sampler.draw = lambda bs, device: torch.tensor([[[0.19, 0.2], [0.79, 0.39]]])
    targets = of_masks(torch.zeros(2, 8, 12, dtype=torch.bool))
    targets = targets._replace(boxes=BOX.expand(2, -1), is_thing=torch.tensor([True, False]))
    *_, (first,) = sampler.sample(torch.zeros(1, 1, 2, 3), [targets])
    assert first.tolist() == [[False, True], [True, True]]
    # The point in the box is chosen although it is certain, and where there is none, the least certain one.
    assert sampler.select(torch.tensor([[0.1, 9.0]] * 2), first).tolist() == [[1], [0]]
    assert sampler.select(torch.tensor([[9.0, 0.1]]), torch.zeros(1, 2, dtype=torch.bool)).tolist() == [[1]]


def test_without_objects_points_stay_uniform():
    sampler = PointSampler(num_points=4, oversample_ratio=2.0, importance_sample_ratio=0.5, box_share=1.0)
    targets = of_masks(torch.zeros(0, 8, 12, dtype=torch.bool))
    _, (masks,), (first,) = sampler.sample(torch.zeros(1, 1, 2, 3), [targets])
    assert masks.shape == first.shape == (0, 10)
