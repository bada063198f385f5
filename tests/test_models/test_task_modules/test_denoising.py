import pytest
import torch
from mmdet.registry import TASK_UTILS

from mmmaskdino.models.task_modules import denoising
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


def test_order_of_the_draws(make_targets):
    """Labels, then boxes, group by group and image by image: the same seed goes on giving the same queries."""
    generator, targets = make_generator(num_queries=10), make_targets([3, 2])
    torch.manual_seed(1)
    got = generator(targets, NUM_MATCHING)
    torch.manual_seed(1)
    labels = torch.cat([t.labels for t in targets]).repeat(3)
    flipped = torch.rand(15) < 0.2
    labels = torch.where(flipped, torch.randint(5, (15,)), labels)
    boxes = torch.cat([t.boxes for t in targets]).repeat(3, 1)
    boxes = generator.shift_boxes(boxes, torch.rand(15, 4))
    slots = torch.tensor([(i, 3 * g + k) for g in range(3) for i, n in enumerate((3, 2)) for k in range(n)]).unbind(1)
    assert flipped.any() and torch.equal(got.boxes[slots], boxes)
    assert torch.equal(got.content[slots], generator.label_embedding(labels))


def test_embedding_is_trained(make_targets):
    generator = make_generator(num_queries=10)
    generator(make_targets([3, 1]), NUM_MATCHING).content.sum().backward()
    assert generator.label_embedding.weight.grad.any()


@pytest.mark.parametrize(
    'changes', [dict(num_queries=0), dict(label_noise=1.1), dict(label_noise=-0.1), dict(box_noise=-0.1)]
)
def test_rejected_settings(changes):
    (name, value) = next(iter(changes.items()))
    with pytest.raises(ValueError, match=f'{name}={value}'):
        make_generator(**changes)


def test_unknown_key_is_rejected():
    with pytest.raises(TypeError, match='groups'):
        make_generator(groups=5)


def make_contrastive(**changes):
    return make_generator(type='ContrastiveDenoisingGenerator', **changes)


def test_each_contrastive_group_is_positives_then_negatives(make_targets):
    generator = make_contrastive(num_queries=10, label_noise=0.0)
    targets = make_targets([3, 1, 0])
    got = generator(targets, NUM_MATCHING)
    assert got.num_groups == 3 and got.content.shape == (3, 18, 32)
    for image, count in enumerate((3, 1, 0)):
        labels = generator.label_embedding(targets[image].labels)
        queries = got.pairs.queries[got.pairs.images == image]
        assert queries.tolist() == [6 * group + i for group in range(3) for i in range(count)]
        assert got.pairs.gts[got.pairs.images == image].tolist() == 3 * list(range(count))
        halves = got.content[image].view(3, 2, 3, 32)  # group, positive or negative, slot
        assert torch.equal(halves[:, :, :count], labels.expand(3, 2, -1, -1))
        assert not halves[:, :, count:].any()
        boxes = got.boxes[image].view(3, 2, 3, 4)
        assert (boxes[:, :, count:] == 0.5).all()
        shift = (boxes[:, :, :count, :2] - targets[image].boxes[:, :2]).abs() / (0.2 * targets[image].boxes[:, 2:])
        assert (shift[:, 0] < 1.001).all() and (shift[:, 1] > 0.999).all()
    assert got.pairs.per_image == (9, 3, 0) and not got.pairs.stages.any()


@pytest.mark.parametrize('counts', [[3, 1], [12]])
def test_contrastive_attention_mask(make_targets, counts):
    """Positives and negatives of a group see each other; no group sees another, nor do matching queries see any."""
    got = make_contrastive(num_queries=10)(make_targets(counts), NUM_MATCHING)
    slots = got.content.shape[1]
    group = torch.cat([torch.arange(slots) // (slots // got.num_groups), torch.full((NUM_MATCHING,), -1)])
    for query in range(slots + NUM_MATCHING):
        blocked = (group >= 0) & (group != group[query])
        assert torch.equal(got.attention_mask[query], blocked)


def test_negatives_lie_further_off_than_positives():
    boxes = torch.tensor([0.5, 0.4, 0.2, 0.1]).repeat(10000, 1)
    noise = make_contrastive(box_noise=0.4).noise_boxes(boxes) - boxes
    noise = (noise / (0.4 * torch.tensor([0.1, 0.05, 0.2, 0.1]))).view(2, 5000, 4)
    for kind, (low, high) in enumerate([(0, 1), (1, 2)]):
        size = noise[kind].abs()
        assert (size > low - 1e-5).all() and (size < high + 1e-5).all()
        torch.testing.assert_close(size.mean(0), torch.full((4,), (low + high) / 2), rtol=0, atol=0.02)
        torch.testing.assert_close((noise[kind] > 0).float().mean(0), torch.full((4,), 0.5), rtol=0, atol=0.03)


def test_negatives_of_large_noise_have_an_area():
    boxes = torch.tensor([0.5, 0.4, 0.2, 0.1]).repeat(10000, 1)
    noisy = make_contrastive(box_noise=1.0).noise_boxes(boxes)
    assert noisy.min() >= 0 and noisy.max() <= 1
    positives, negatives = (noisy[:, 2:] / boxes[:, 2:]).split(5000)
    assert positives.min() < 0.05 and positives.max() > 1.95
    assert negatives.min() > 1.999 and negatives.max() > 2.95  # there is nothing to shrink to


@pytest.mark.parametrize('kind', [None, 'learned softmax'])
def test_negatives_are_supervised_as_no_object(make_head, make_features, make_targets, kind):
    """A negative that claims its class costs; its box and mask cost nothing."""
    head = make_head({'denoising.type': 'ContrastiveDenoisingGenerator'}, kind)
    targets = make_targets([3, 3])
    output = head.forward_train(make_features(), targets)
    stage = output.denoising.map(lambda field: field[-1:])
    negative = torch.arange(stage.boxes.shape[2]) % 6 >= 3
    paired = torch.zeros(stage.boxes.shape[1:3], dtype=torch.bool)
    paired[output.groups.pairs.images, output.groups.pairs.queries] = True
    assert torch.equal(paired, ~negative.expand_as(paired))

    fields = stage.map(lambda field: field.detach().requires_grad_())
    output = output._replace(denoising=fields)
    losses = head.criterion(output, targets)
    sum(losses[f'dn_{name}'] for name in ('loss_cls', 'loss_bbox', 'loss_iou', 'loss_mask', 'loss_dice')).backward()
    classes, boxes, masks = (field.grad[0, :, negative] for field in fields)
    assert not boxes.any() and not masks.any()
    assert fields.boxes.grad[0, :, ~negative].any() and fields.mask_embeds.grad[0, :, ~negative].any()
    # Descent lowers every class, or raises the last channel of a softmax, the one of no object.
    claims = classes if kind is None else classes[..., :-1]
    assert (claims > 0).all() and (kind is None or (classes[..., -1] < 0).all())


def test_contrastive_denoising_of_a_batch_without_objects(make_targets):
    assert make_contrastive()(make_targets([0, 0]), NUM_MATCHING) is None


def test_contrastive_denoising_of_a_rank_without_objects(make_targets):
    """The other ranks' images have four objects at most: this one makes as many slots, all of them empty."""
    generator = make_contrastive(num_queries=10)
    got = generator(make_targets([0, 0]), NUM_MATCHING, 4)
    assert got.boxes.shape == (2, 16, 4) and (got.boxes == 0.5).all() and not got.content.any()
    assert got.pairs.per_image == (0, 0)


def test_defaults_and_limits():
    generator = TASK_UTILS.build(dict(type='DenoisingGenerator', num_classes=5))
    assert generator.label_embedding.weight.shape == (5, 256)
    assert make_generator(num_queries=1, label_noise=1).num_queries == 1
    with pytest.raises(
        ValueError, match=r'^denoising needs num_queries >= 1, label_noise in \[0, 1\] and box_noise >= 0'
    ):
        make_generator(num_queries=0)


def test_as_many_objects_as_queries_keep_their_order(make_targets):
    got = make_generator(num_queries=10)(make_targets([10]), NUM_MATCHING)
    assert got.pairs.gts.tolist() == list(range(10))


def test_all_processes_make_the_same_groups(make_targets, monkeypatch):
    """As many as the image with the most objects of all processes leaves room for."""

    def all_reduce(number, op):
        assert op == 'max' and number.item() == 3
        number.fill_(7)

    monkeypatch.setattr(denoising, 'get_world_size', lambda: 2)
    monkeypatch.setattr(denoising, 'all_reduce', all_reduce)
    got = make_generator()(make_targets([3, 1]), NUM_MATCHING)
    assert got.num_groups == 14 and got.content.shape[1] == 14 * 7


def test_a_crowded_image_weighs_as_much_as_one_within_the_budget(make_head, make_features, make_targets):
    """The normaliser of the denoising losses counts the copies that exist: 10 of 30 objects."""
    head = make_head()
    output = head.forward_train(make_features(1), make_targets([30]))
    assert output.groups.pairs.per_image == (10,) and output.groups.num_groups == 1
    assert head.criterion._num_objects(make_targets([30]), output).tolist() == [30, 10]
    output = head.forward_train(make_features(2), make_targets([3, 1]))
    assert head.criterion._num_objects(make_targets([3, 1]), output).tolist() == [4, 4 * 3]
    head.denoising = None
    output = head.forward_train(make_features(2), make_targets([3, 1]))
    assert head.criterion._num_objects(make_targets([3, 1]), output)[0] == 4
