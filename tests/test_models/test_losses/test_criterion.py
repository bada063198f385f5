import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torchvision.ops import box_iou, generalized_box_iou_loss

from mmmaskdino.models.losses import PointSampler
from mmmaskdino.models.losses import criterion as criterion_module
from mmmaskdino.models.losses.criterion import all_stages
from mmmaskdino.models.utils import cxcywh_to_xyxy
from mmmaskdino.structures import HeadOutput, Pairs, StagePrediction

TERMS = ('loss_cls', 'loss_bbox', 'loss_iou', 'loss_mask', 'loss_dice')


@pytest.fixture
def make_criterion(head_config):
    """The small head's criterion; changes by dotted key."""

    def make(changes=None, kind=None):
        return MODELS.build(head_config({f'criterion.{k}': v for k, v in (changes or {}).items()}, kind).criterion)

    return make


def random_stage(bs=2, num_queries=12, channels=5, masks=True):
    embeds = torch.randn(bs, num_queries, 16) if masks else None
    return StagePrediction(torch.randn(bs, num_queries, channels), 0.1 + 0.5 * torch.rand(bs, num_queries, 4), embeds)


def random_output(num_stages=3, encoder=True, masks=True, channels=5):
    first, *others = (random_stage(masks=masks, channels=channels) for _ in range(num_stages))
    stages = first.map(lambda *fields: torch.stack(fields), *others)
    features = torch.randn(2, 16, 16, 24) if masks else None
    of_encoder = random_stage(masks=masks).map(lambda field: field[None]) if encoder else None
    return HeadOutput(of_encoder, stages, None, None, features)


def one_stage(output, index=0):
    """A stage of an output, without its leading dimension."""
    return output.matching.map(lambda field: field[index])


def fix_points(criterion):
    """The same points at every call, and all of them in the loss."""
    points = torch.rand(1, criterion.point_sampler.num_points, 2)
    criterion.point_sampler.draw = lambda bs, device: points.expand(bs, -1, -1)
    criterion.point_sampler.select = lambda logits, first: torch.arange(logits.shape[1]).expand(len(logits), -1)
    return points


def test_names(make_criterion, make_targets):
    losses = make_criterion()(random_output(), make_targets([3, 1]))
    assert set(losses) == {f'{stage}{term}' for stage in ('enc_', 'd0.', 'd1.', '') for term in TERMS}
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())


def test_names_without_encoder_stage(make_criterion, make_targets):
    losses = make_criterion()(random_output(2, encoder=False), make_targets([3, 1]))
    assert set(losses) == {f'{stage}{term}' for stage in ('d0.', '') for term in TERMS}


def test_each_name_is_its_stage(make_criterion, make_targets):
    criterion, output, targets = make_criterion(), random_output(), make_targets([3, 1])
    fix_points(criterion)
    losses = criterion(output, targets)
    stages = [output.encoder, *(output.matching.map(lambda field, i=i: field[i : i + 1]) for i in range(3))]
    for prefix, stage in zip(('enc_', 'd0.', 'd1.', ''), stages, strict=True):
        alone = criterion(output._replace(encoder=None, matching=stage), targets)
        for term in TERMS:
            torch.testing.assert_close(losses[f'{prefix}{term}'], alone[term], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('initial', 'stages'), [(True, ('d0.dn_', 'd1.dn_', 'dn_')), (False, ('d1.dn_', 'dn_'))])
def test_names_of_denoising(make_head, make_features, make_targets, initial, stages):
    head = make_head(kind=None if initial else 'learned softmax')
    targets = make_targets([3, 1])
    losses = head.criterion(head.forward_train(make_features(), targets), targets)
    assert {name for name in losses if 'dn_' in name} == {f'{stage}{term}' for stage in stages for term in TERMS}
    assert set(TERMS) < set(losses)  # matching has its own


def test_a_loss_that_is_none_is_left_out(make_criterion, make_targets):
    criterion = make_criterion(kind='detection')
    losses = criterion(random_output(2, masks=False, encoder=False), make_targets([3, 1]))
    assert set(losses) == {'d0.loss_cls', 'd0.loss_bbox', 'd0.loss_iou', 'loss_cls', 'loss_bbox', 'loss_iou'}
    assert not criterion.with_masks
    no_dice = make_criterion({'loss_dice': None})
    assert set(no_dice(random_output(1, False), make_targets([1, 1]))) == set(TERMS) - {'loss_dice'}


def test_every_term_of_a_matched_stage(make_criterion, make_targets):
    criterion, output, targets = make_criterion(), random_output(1, encoder=False), make_targets([3, 2])
    points = fix_points(criterion)
    losses = criterion(output, targets)
    features, masks, _ = criterion.point_sampler.sample(output.mask_features, targets)
    (pairs,) = criterion.match([all_stages(output)], targets, features, masks)

    stage, boxes, giou, bce, dice = one_stage(output), 0, 0, 0, 0
    labels = torch.zeros(2, 12, 5)
    for image, query, gt in zip(*(field.tolist() for field in pairs[1:4]), strict=True):
        target = targets[image]
        labels[image, query, target.labels[gt]] = 1
        boxes += F.l1_loss(stage.boxes[image, query], target.boxes[gt], reduction='sum')
        xyxy = [cxcywh_to_xyxy(b)[None] for b in (stage.boxes[image, query], target.boxes[gt])]
        giou += generalized_box_iou_loss(*xyxy).sum()
        logit_map = torch.einsum('c,chw->hw', stage.mask_embeds[image, query], output.mask_features[image])
        grid = 2 * points[None] - 1
        logit = F.grid_sample(logit_map[None, None], grid, align_corners=False).flatten()
        mask = F.grid_sample(target.masks[gt][None, None].float(), grid, align_corners=False).flatten()
        bce += F.binary_cross_entropy_with_logits(logit, mask)
        dice += 1 - (2 * (logit.sigmoid() * mask).sum() + 1) / (logit.sigmoid().sum() + mask.sum() + 1)
    p = stage.cls_logits.sigmoid()
    focal = torch.where(labels > 0, -0.25 * (1 - p) ** 2 * p.log(), -0.75 * p**2 * (1 - p).log()).sum()
    expected = dict(zip(TERMS, (4 * focal, 5 * boxes, 2 * giou, 5 * bce, 5 * dice), strict=True))
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value / 5, rtol=1e-4, atol=1e-5, msg=name)


def test_mask_terms_are_the_recorded_ones(make_criterion, golden_ops):
    """The losses of the config, for given logits in the points."""
    criterion = make_criterion()
    for loss, name in ((criterion.loss_mask, 'mask_bce'), (criterion.loss_dice, 'dice')):
        record = golden_ops['losses'][name]
        value = loss(record['inputs'], record['targets']).sum() / record['num_masks']
        torch.testing.assert_close(value, torch.tensor(5 * record['output']), rtol=1e-5, atol=1e-5)


def test_box_terms_are_the_recorded_ones(make_criterion, golden_ops):
    record = golden_ops['boxes']
    first = record['xyxy_1'].repeat_interleave(4, 0)
    second = record['xyxy_2'].repeat(6, 1)
    loss = make_criterion().loss_iou(first, second, reduction_override='none')
    giou = (1 - loss / 2).view(6, 4)
    regular = torch.ones(6, 4, dtype=torch.bool)
    regular[0, 0] = False  # two boxes without area: 0 / 0 with eps
    torch.testing.assert_close(giou[regular], record['giou'][regular], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(cxcywh_to_xyxy(record['cxcywh_1']), record['xyxy_1'])


def test_stuff_counts_as_an_object_and_carries_no_box_loss(make_criterion, make_targets):
    output, targets = random_output(1, encoder=False, channels=8), make_targets([2, 0], stuff=[1, 2], num_stuff=3)
    pairs = Pairs(*torch.tensor([[0] * 5, [0, 0, 0, 1, 1], [3, 7, 1, 0, 4], [0, 1, 2, 0, 1]]), (3, 2))
    criterion = make_criterion({'decouple_stuff': True})
    criterion.assigner.assign_groups = lambda *args: [pairs]
    fix_points(criterion)
    losses = criterion(output, targets)
    things = F.l1_loss(output.matching.boxes[0, 0, [3, 7]], targets[0].boxes[:2], reduction='sum')
    torch.testing.assert_close(losses['loss_bbox'], 5 * things / 5)
    criterion.decouple_stuff = False
    coupled = criterion(output, targets)
    assert coupled['loss_bbox'] > losses['loss_bbox'] and coupled['loss_iou'] > losses['loss_iou']
    for name in ('loss_cls', 'loss_mask', 'loss_dice'):
        assert torch.equal(coupled[name], losses[name])


def test_stuff_is_like_things_when_not_decoupled(make_criterion, make_targets):
    output = random_output(1, encoder=False, channels=8)
    targets = make_targets([0, 0], stuff=[1, 2], num_stuff=3)
    criterion = make_criterion({'decouple_stuff': True})
    fix_points(criterion)
    decoupled = criterion(output, targets)
    assert decoupled['loss_bbox'] == 0 and decoupled['loss_iou'] == 0 and decoupled['loss_mask'] > 0
    criterion.decouple_stuff = False
    coupled = criterion(output, targets)
    assert coupled['loss_bbox'] > 0 and coupled['loss_iou'] > 0
    # Not decoupled, the flag makes no difference at all.
    as_things = [t._replace(is_thing=torch.ones_like(t.is_thing)) for t in targets]
    for name, value in criterion(output, as_things).items():
        torch.testing.assert_close(value, coupled[name])


def test_no_objects(make_criterion, make_targets):
    output = random_output()
    for tensor in (output.mask_features, *output.encoder, *output.matching):
        tensor.requires_grad_()
    losses = make_criterion()(output, make_targets([0, 0]))
    assert set(losses) == {f'{stage}{term}' for stage in ('enc_', 'd0.', 'd1.', '') for term in TERMS}
    assert all((value > 0) == name.endswith('cls') for name, value in losses.items())
    sum(losses.values()).backward()
    for field in (output.mask_features, *output.encoder, *output.matching):
        assert field.grad is not None and field.grad.isfinite().all()  # each rank touches every head


def test_normaliser_is_the_average_over_ranks_and_at_least_one(make_criterion, make_targets, monkeypatch):
    output, criterion = random_output(1, encoder=False), make_criterion()
    fix_points(criterion)
    plain = criterion(output, make_targets([3, 1]))['loss_cls'] * 4
    torch.manual_seed(0)
    empty = criterion(output, make_targets([0, 0]))['loss_cls']
    p = output.matching.cls_logits.sigmoid()
    torch.testing.assert_close(empty, 4 * (-0.75 * p**2 * (1 - p).log()).sum())  # divided by 1
    torch.manual_seed(0)
    monkeypatch.setattr(criterion_module, 'reduce_mean', lambda count: count / 2 + 5)
    torch.testing.assert_close(criterion(output, make_targets([0, 0]))['loss_cls'], empty / 5)
    assert plain > 0


def test_denoising_is_divided_by_objects_times_groups(make_head, make_features, make_targets):
    """Noise that is the same in all groups gives all groups the same loss: their number must not show."""
    targets, features = make_targets([3, 3]), make_features()
    losses = []
    head = make_head()
    head.denoising.noise_labels = lambda labels: labels
    head.denoising.noise_boxes = lambda boxes: boxes
    fix_points(head.criterion)
    for num_queries, groups in ((3, 1), (12, 4)):
        head.denoising.num_queries = num_queries
        output = head.forward_train(features, targets)
        assert output.groups.num_groups == groups
        losses.append(head.criterion(output, targets))
    for name, value in losses[0].items():
        torch.testing.assert_close(value, losses[1][name], rtol=1e-4, atol=1e-5, msg=name)


def test_losses_are_computed_in_float32(make_criterion, make_targets):
    criterion, targets, output = make_criterion(), make_targets([3, 1]), random_output(1, encoder=False)
    fix_points(criterion)
    stage = output.matching
    half = stage._replace(cls_logits=stage.cls_logits.bfloat16(), mask_embeds=stage.mask_embeds.bfloat16())
    features = output.mask_features.bfloat16()
    got = criterion(output._replace(matching=half, mask_features=features), targets)
    full = StagePrediction(*(field.float() for field in half))
    wanted = criterion(output._replace(matching=full, mask_features=features.float()), targets)
    for name, value in got.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, wanted[name], rtol=1e-5, atol=1e-6)


def test_autocast(make_head, make_features, make_targets):
    head, targets = make_head(), make_targets([3, 1])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = head.criterion(head.forward_train(make_features(), targets), targets)
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())


def test_matching_looks_at_the_first_points_alone(make_criterion, make_targets):
    criterion, output, targets = make_criterion(), random_output(1, encoder=False), make_targets([3, 1])
    seen = []
    criterion.assigner.assign_groups = lambda groups, targets, features, masks: seen.extend([*features, *masks])
    features, masks, _ = criterion.point_sampler.sample(output.mask_features, targets)
    criterion.match([all_stages(output)], targets, features, masks)
    num_points, drawn = criterion.point_sampler.num_points, masks[0].shape[1]
    logits = [f.logits(torch.randn(2, 16)) for f in seen[:2]]
    assert drawn > num_points and all(x.shape[1] == num_points for x in logits + seen[2:])


def test_defaults_are_those_of_the_paper(head_config):
    config = head_config({}).criterion
    for key in ('num_points', 'oversample_ratio', 'importance_sample_ratio', 'decouple_stuff'):
        config.pop(key, None)
    criterion, sampler = MODELS.build(config), PointSampler(12544, 3.0, 0.75)
    assert vars(criterion.point_sampler) == vars(sampler) and not criterion.decouple_stuff


def test_unknown_key_is_rejected(head_config):
    with pytest.raises(TypeError, match='loss_class'):
        MODELS.build(head_config({'criterion.loss_class': dict(type='QueryFocalLoss')}).criterion)


@pytest.mark.parametrize('decouple', [False, True])
def test_class_scores_follow_the_boxes(make_criterion, make_targets, decouple):
    """The loss is told the IoU of each matched query, nothing of denoising, and that stuff has no box."""
    criterion = make_criterion({'loss_cls.type': 'PositionSupervisedFocalLoss', 'decouple_stuff': decouple})
    output, targets, seen = random_output(1, encoder=False), make_targets([2, 1], stuff=[1, 0], num_things=4), []
    criterion.loss_cls.forward = lambda logits, labels, num_objects, overlaps=None: (
        seen.append((labels, overlaps)) or logits.new_zeros(len(logits))
    )
    fix_points(criterion)
    criterion(output, targets)
    ((labels, overlaps),) = seen
    is_matched = labels < 5
    assert not overlaps[~is_matched].any() and not overlaps.requires_grad
    of_stuff = overlaps[is_matched & (labels == 4)]
    assert len(of_stuff) == 1 and of_stuff.isnan().all() == decouple
    stage = one_stage(output)
    for image, query in torch.nonzero(is_matched[0] & (labels[0] < 4)).tolist():
        boxes = cxcywh_to_xyxy(stage.boxes[image, query])[None]
        ious = box_iou(boxes, cxcywh_to_xyxy(targets[image].boxes))[0]
        assert (ious - overlaps[0, image, query]).abs().min() < 1e-6
