import pytest
import torch
from mmdet.registry import TASK_UTILS

from mmmaskdino.models.utils import cxcywh_to_xyxy

NUM_MATCHING = 6


def make_generator(**changes):
    return TASK_UTILS.build(dict(type='DenoisingGenerator', num_classes=5, dim=32) | changes)


@pytest.mark.parametrize(
    ('counts', 'groups'), [([3, 1], 33), ([1], 100), ([100, 2], 1), ([51], 1), ([50], 2), ([101, 2], 1), ([0, 7], 14)]
)
def test_number_of_groups(make_targets, counts, groups):
    got = make_generator()(make_targets(counts), NUM_MATCHING)
    assert got.num_groups == groups
    slots = groups * min(max(counts), 100)
    assert got.content.shape == (len(counts), slots, 32) and got.boxes.shape == (len(counts), slots, 4)
    assert got.attention_mask.shape == (slots + NUM_MATCHING,) * 2
    assert got.pairs.per_image == tuple(min(count, 100) * groups for count in counts)


def test_no_objects(make_targets):
    assert make_generator()(make_targets([0, 0]), NUM_MATCHING) is None


def test_pairs_reconstruct_the_targets(make_targets):
    """Without noise, the query of a pair is its object; all other slots are empty."""
    generator = make_generator(num_queries=10, label_noise=0.0, box_noise=0.0)
    targets = make_targets([3, 1, 0])
    got = generator(targets, NUM_MATCHING)
    used = torch.zeros(got.content.shape[:2], dtype=torch.bool)
    for stage, image, query, gt in zip(*got.pairs[:4], strict=True):
        assert stage == 0 and not used[image, query]
        used[image, query] = True
        assert torch.equal(got.content[image, query], generator.label_embedding(targets[image].labels[gt]))
        torch.testing.assert_close(got.boxes[image, query], targets[image].boxes[gt], rtol=0, atol=2e-5)
    assert used.sum(1).tolist() == [9, 3, 0]
    assert not got.content[~used].any() and (got.boxes[~used] == 0.5).all()


def test_each_group_holds_each_object_once(make_targets):
    got = make_generator(num_queries=10)(make_targets([3, 2]), NUM_MATCHING)
    for image, count in enumerate((3, 2)):
        of_image = got.pairs.images == image
        for group in range(3):
            inside = of_image & (got.pairs.queries // 3 == group)
            assert got.pairs.gts[inside].tolist() == list(range(count))


def test_more_objects_than_the_budget_are_sampled(make_targets):
    generator = make_generator(num_queries=10, label_noise=0.0, box_noise=0.0)
    targets = make_targets([30, 2])
    first, second = (generator(targets, NUM_MATCHING) for _ in range(2))
    for got in (first, second):
        gts = got.pairs.gts[got.pairs.images == 0]
        assert len(gts.unique()) == 10
        queries = got.pairs.queries[got.pairs.images == 0]
        torch.testing.assert_close(got.boxes[0, queries], targets[0].boxes[gts], rtol=0, atol=2e-5)
    assert set(first.pairs.gts.tolist()) != set(second.pairs.gts.tolist())


@pytest.mark.parametrize('counts', [[3, 1], [1], [12]])
def test_attention_mask(make_targets, counts):
    got = make_generator(num_queries=10)(make_targets(counts), NUM_MATCHING)
    slots, size = got.content.shape[1], got.content.shape[1] // got.num_groups
    for query in range(slots + NUM_MATCHING):
        for key in range(slots + NUM_MATCHING):
            same_group = query < slots and key < slots and query // size == key // size
            assert bool(got.attention_mask[query, key]) == (key < slots and not same_group)


def test_label_noise():
    labels = torch.full((20000,), 3)
    noisy = make_generator(label_noise=0.2).noise_labels(labels)
    counts = noisy.bincount(minlength=5) / 20000
    # A fifth is replaced, by any of the five classes: one in twenty-five of all for each.
    torch.testing.assert_close(counts, torch.tensor([0.04, 0.04, 0.04, 0.84, 0.04]), rtol=0, atol=0.01)
    assert torch.equal(make_generator(label_noise=0.0).noise_labels(labels), labels)
    assert torch.equal(labels, torch.full((20000,), 3))


def test_box_noise_stays_in_its_range():
    generator = make_generator(box_noise=0.4)
    boxes = torch.tensor([0.5, 0.4, 0.2, 0.1]).repeat(5000, 1)
    noise = generator.noise_boxes(boxes) - boxes
    reach = torch.tensor([0.4 * 0.1, 0.4 * 0.05, 0.4 * 0.2, 0.4 * 0.1])
    assert (noise.abs() <= reach + 1e-6).all()
    assert (noise.amax(0) > 0.95 * reach).all() and (noise.amin(0) < -0.95 * reach).all()
    torch.testing.assert_close(noise.mean(0) / reach, torch.zeros(4), rtol=0, atol=0.05)


def test_noised_boxes_stay_on_the_canvas():
    boxes = torch.tensor([[0.02, 0.98, 0.04, 0.04], [0.5, 0.5, 1.0, 1.0]]).repeat(500, 1)
    noisy = make_generator(box_noise=1.0).noise_boxes(boxes)
    assert noisy.min() >= 0 and noisy.max() <= 1
    assert cxcywh_to_xyxy(noisy).isfinite().all()


def test_recorded_noise(shared_golden):
    case = torch.load(shared_golden / 'train_instance.pt', weights_only=True)
    generator = make_generator(box_noise=case['meta']['hyper']['dn_noise_scale'])
    boxes = torch.cat([t['boxes'] for t in case['targets']]).repeat(case['dn']['scalar'], 1)
    got = generator.shift_boxes(boxes, case['random']['dn_box_rand'])
    recorded = case['dn']['input_query_bbox_unsigmoid'].sigmoid()
    where = case['dn']['batch_idx'].repeat(case['dn']['scalar']), case['dn']['map_known_indice']
    torch.testing.assert_close(got, recorded[where], rtol=1e-4, atol=1e-5)


def test_embedding_is_trained(make_targets):
    generator = make_generator(num_queries=10)
    generator(make_targets([3, 1]), NUM_MATCHING).content.sum().backward()
    assert generator.label_embedding.weight.grad.any()


@pytest.mark.parametrize(
    'changes', [dict(num_queries=0), dict(label_noise=1.1), dict(label_noise=-0.1), dict(box_noise=-0.1)]
)
def test_refused_settings(changes):
    (name, value) = next(iter(changes.items()))
    with pytest.raises(ValueError, match=f'{name}={value}'):
        make_generator(**changes)


def test_unknown_key_is_refused():
    with pytest.raises(TypeError, match='groups'):
        make_generator(groups=5)
