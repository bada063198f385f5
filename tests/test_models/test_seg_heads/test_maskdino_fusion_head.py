"""The fusion head against plain float64 formulas on random predictions, and its bounds on memory and waiting."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import MODELS
from mmengine.structures import BaseDataElement
from pycocotools import mask as mask_utils
from torch.utils._python_dispatch import TorchDispatchMode

from mmmaskdino.apis.selftest import OperationCounter
from mmmaskdino.models.seg_heads import MaskDINOFusionHead
from mmmaskdino.models.seg_heads.image_queries import ImageFrames, ImageQueries
from mmmaskdino.ops import device, mask_strips

THINGS, STUFF, QUERIES = 5, 3, 14
FRAMES = {
    'padded and odd': ImageFrames((64, 96), (61, 83), (75, 57)),
    'shrunk': ImageFrames((64, 96), (64, 90), (23, 30)),
    'no resize': ImageFrames((64, 96), (64, 96), (64, 96)),
    'one row': ImageFrames((64, 96), (1, 96), (1, 40)),
    'as high as the mask features are wide': ImageFrames((24, 96), (24, 96), (24, 48)),
}
frames_of_all_kinds = pytest.mark.parametrize('frames', FRAMES.values(), ids=FRAMES.keys())


def random_predictions(seed=0, use_sigmoid=True, num_queries=QUERIES, mask_dims=32):
    """cls_logits, boxes, mask_embeds, mask_features of one image: one blob per query, some of them confident."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=generator)

    boxes = torch.cat([0.9 * rand(num_queries, 2), 0.1 + 0.4 * rand(num_queries, 2)], 1)
    y, x = torch.meshgrid(torch.linspace(0, 1, 16), torch.linspace(0, 1, 24), indexing='ij')
    centre_x, centre_y, width, height = boxes[..., None, None].unbind(1)
    blobs = 6 - 20 * torch.maximum((x - centre_x).abs() / width, (y - centre_y).abs() / height)
    blobs = blobs + 2 * rand(num_queries, 16, 24) - 1
    embeds = torch.linalg.qr(rand(max(num_queries, mask_dims), mask_dims))[0][:num_queries]
    features = torch.linalg.lstsq(embeds, blobs.flatten(1)).solution.view(mask_dims, 16, 24)
    cls_logits = 3 * torch.randn(num_queries, THINGS + STUFF + (not use_sigmoid), generator=generator) - 3
    return cls_logits, boxes, embeds, features


def sample_of(frames):
    return BaseDataElement(
        metainfo=dict(batch_input_shape=frames.canvas, img_shape=(*frames.image, 3), ori_shape=frames.output)
    )


def predict(predictions, frames, rescale=True, use_sigmoid=True, things=THINGS, **test_cfg):
    head = MaskDINOFusionHead(things, THINGS + STUFF - things, use_sigmoid, test_cfg)
    batch = [None if x is None else x[None] for x in predictions]
    return head.predict(*batch, [sample_of(frames)], rescale=rescale)[0]


def full_masks(embeds, features, frames):
    """All logits (num_queries, H, W) in float64, at once."""
    logits = torch.einsum('qd,dhw->qhw', embeds.double(), features.double())[None]
    logits = F.interpolate(logits, frames.canvas, mode='bilinear')[..., : frames.image[0], : frames.image[1]]
    return F.interpolate(logits, frames.output, mode='bilinear')[0]


def plain_panoptic(predictions, frames, object_mask_thr=0.25, overlap_thr=0.8, temperature=0.06):
    """The definition, one query at a time."""
    cls_logits, _, embeds, features = predictions
    probs = full_masks(embeds, features, frames).sigmoid()
    plain = cls_logits.double().sigmoid()
    scores = plain if temperature is None else (plain / temperature).softmax(-1)
    candidates = [q for q in range(len(plain)) if plain[q].max() > object_mask_thr]
    panoptic = torch.full(frames.output, THINGS + STUFF)
    if not candidates:
        return panoptic
    winner = torch.stack([probs[q] * scores[q].max() for q in candidates]).argmax(0)
    number = 0
    for i, query in enumerate(candidates):
        confident = probs[query] >= 0.5
        visible = (winner == i) & confident
        if not visible.any() or (winner == i).sum() / confident.sum() < overlap_thr:
            continue
        label = int(scores[query].argmax())
        number += label < THINGS
        panoptic[visible] = label + (number * INSTANCE_OFFSET if label < THINGS else 0)
    return panoptic


def plain_instances(predictions, frames, num_classes=THINGS, max_per_image=20):
    """Scores, labels, boxes and masks of the best pairs, one pair at a time, sorted."""
    cls_logits, boxes, embeds, features = predictions
    scores = cls_logits.double().sigmoid()[:, :num_classes]
    masks = full_masks(embeds, features, frames)
    found = []
    pairs = [(float(scores[q, c]), q, c) for q in range(len(scores)) for c in range(num_classes)]
    for score, query, label in sorted(pairs, reverse=True)[:max_per_image]:
        inside = masks[query] > 0
        quality = float(masks[query].sigmoid()[inside].mean()) if inside.any() else 0.0
        found.append((score * quality, query, label, inside))
    found.sort(key=lambda instance: -instance[0])
    return found


def assert_same_pixels(got, expected):
    """Equal but for a few pixels, which float32 sums of another order may move across a threshold."""
    assert got.shape == expected.shape
    assert (got != expected).float().mean() < 1e-3


def assert_same_results(got, expected):
    assert got.keys() == expected.keys()
    for name in ('scores', 'bboxes', 'labels'):
        torch.testing.assert_close(got['ins_results'][name], expected['ins_results'][name])
    assert_same_pixels(got['ins_results'].masks, expected['ins_results'].masks)
    for name in got.keys() - {'ins_results'}:
        assert_same_pixels(got[name].sem_seg, expected[name].sem_seg)


# ------------------------------------------------------------------------------------------------- settings


def test_is_built_from_the_registry():
    head = MODELS.build(dict(type='MaskDINOFusionHead', num_things_classes=80, num_stuff_classes=53))
    assert (head.num_classes, head.settings.max_per_image, head.settings.temperature) == (133, 100, 0.06)
    with pytest.raises(TypeError, match='num_thing_classes'):
        MODELS.build(dict(type='MaskDINOFusionHead', num_things_classes=80, num_thing_classes=80))


def test_config_of_weights_is_kept():
    assert MaskDINOFusionHead(1, init_cfg=dict(type='Normal')).init_cfg == dict(type='Normal')


@pytest.mark.parametrize(('counts', 'expected'), [((1,), 1), ((999,), 999), ((80, 919), 999)])
def test_class_counts_that_a_panoptic_map_holds(counts, expected):
    assert MaskDINOFusionHead(*counts, test_cfg=dict(panoptic_on=True)).num_classes == expected


@pytest.mark.parametrize(
    ('counts', 'test_cfg', 'message'),
    [
        ((80, 53), dict(instance_on=False), 'every result off'),
        ((0, 150), dict(semantic_on=True), 'instance_on needs thing classes'),
        ((1000, 0), dict(panoptic_on=True), 'fewer than 1000 classes'),
        ((-1, 5), {}, 'num_things_classes=-1'),
        ((0, 0), {}, 'num_things_classes=0'),
    ],
)
def test_what_cannot_work_together_is_rejected(counts, test_cfg, message):
    with pytest.raises(ValueError, match=message):
        MaskDINOFusionHead(*counts, test_cfg=test_cfg)


def test_wrong_predictions_are_rejected():
    predictions = random_predictions()
    frames = FRAMES['no resize']
    with pytest.raises(ValueError, match=r'expects 9 class columns.*\(1, 14, 8\)'):
        predict(predictions, frames, use_sigmoid=False)
    message = (
        'test_cfg.panoptic_on and test_cfg.semantic_on need masks, but this model predicts none; set them to False '
        'for a detection-only model'
    )
    for without in ((None, None), (None, predictions[3]), (predictions[2], None)):
        with pytest.raises(ValueError, match=f'^{message}$'):
            predict((*predictions[:2], *without), frames, panoptic_on=True)
    head, batch = MaskDINOFusionHead(THINGS, STUFF), [x[None] for x in predictions]
    with pytest.raises(ValueError, match='larger than batch_input_shape'):
        head.predict(*batch, [sample_of(ImageFrames((64, 96), (65, 96), (64, 96)))])


# --------------------------------------------------------------------------------------------------- strips


@pytest.fixture(params=[1, 3000, None])
def strip_elements(request, monkeypatch):
    if request.param is not None:
        monkeypatch.setattr(device, 'HOST_VALUES', 8 * request.param)
    return device.HOST_VALUES // 8


@frames_of_all_kinds
def test_strips_are_the_resized_masks(frames, strip_elements):
    _, _, embeds, features = random_predictions()
    low = torch.einsum('qd,dhw->qhw', embeds, features)
    strips = list(mask_strips.mask_strips(low, frames))
    row = len(low) * max(frames.canvas[1], frames.output[1])
    assert all(logits.numel() <= max(strip_elements, row) for _, logits in strips)
    assert [rows.start for rows, _ in strips[1:]] == [rows.stop for rows, _ in strips[:-1]]
    torch.testing.assert_close(
        torch.cat([logits for _, logits in strips], 1), full_masks(embeds, features, frames).float(), atol=1e-4, rtol=0
    )


@frames_of_all_kinds
def test_combined_strips_are_combined_on_the_canvas(frames, strip_elements):
    _, _, embeds, features = random_predictions()
    low = torch.einsum('qd,dhw->qhw', embeds, features)
    strips = mask_strips.combined_strips(low, frames, lambda logits: logits.sigmoid()[:3], num_maps=3)
    canvas = F.interpolate(low.double()[None], frames.canvas, mode='bilinear').sigmoid()[:, :3]
    image = canvas[..., : frames.image[0], : frames.image[1]]
    expected = F.interpolate(image, frames.output, mode='bilinear')[0].float()
    torch.testing.assert_close(torch.cat([maps for _, maps in strips], 1), expected, atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------------ instances


@frames_of_all_kinds
def test_instances_follow_the_definition(frames, strip_elements):
    predictions = random_predictions(seed=3)
    found = predict(predictions, frames, max_per_image=20)['ins_results']
    expected = plain_instances(predictions, frames)
    assert found.masks.shape == (20, *frames.output)
    assert found.masks.dtype == torch.bool
    torch.testing.assert_close(found.scores, torch.tensor([e[0] for e in expected]), atol=1e-5, rtol=0)
    positive = found.scores > 0  # empty masks share the score 0 and come in any order
    assert positive.any()
    assert found.labels[positive].tolist() == [e[2] for e in expected if e[0] > 0]
    masks = torch.stack([e[3] for e in expected])
    assert (found.masks[positive] != masks[positive]).float().mean() < 1e-4
    scale = torch.tensor(frames.canvas) / torch.tensor(frames.image) * torch.tensor(frames.output)
    boxes = predictions[1][[e[1] for e in expected]] * scale.flip(0).repeat(2)
    corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    torch.testing.assert_close(found.bboxes[positive], corners[positive])


def test_instances_are_few_sorted_and_above_the_threshold():
    predictions, frames = random_predictions(seed=2), FRAMES['padded and odd']
    everything = predict(predictions, frames, max_per_image=1000)['ins_results']
    assert len(everything) == QUERIES * THINGS
    assert (everything.scores.diff() <= 0).all()
    threshold = float(everything.scores[9:11].mean())
    some = predict(predictions, frames, max_per_image=1000, score_thr=threshold)['ins_results']
    torch.testing.assert_close(some.scores, everything.scores[:10])
    assert_same_pixels(some.masks, everything.masks[:10])
    assert torch.equal(some.bboxes, everything.bboxes[:10])
    assert len(predict(predictions, frames, max_per_image=7)['ins_results']) == 7


@pytest.mark.parametrize(('score_thr', 'found'), [(0.5, 2), (0.6, 0)])
def test_a_score_at_the_threshold_is_kept(score_thr, found):
    cls_logits = torch.full((2, THINGS + STUFF), -9.0)
    cls_logits[:, 1] = 0  # the score is a half
    predictions = (cls_logits, torch.full((2, 4), 0.5), None, None)
    assert len(predict(predictions, FRAMES['no resize'], score_thr=score_thr)['ins_results']) == found


def test_where_a_mask_is_undecided_it_is_not():
    cls_logits = torch.full((1, THINGS + STUFF), 5.0)
    features = torch.full((1, 16, 24), 3.0)
    features[:, :, 12:] = 0  # logits of 0 on the right
    predictions = (cls_logits, torch.full((1, 4), 0.5), torch.ones(1, 1), features)
    masks = predict(predictions, FRAMES['no resize'])['ins_results'].masks
    assert masks[:, :, :46].all() and not masks[:, :, 50:].any()


def test_stuff_is_removed_before_or_after_the_top_k():
    predictions, frames = random_predictions(seed=3), FRAMES['no resize']
    predictions[0][:, THINGS:] += 4  # stuff scores highest
    before = predict(predictions, frames, max_per_image=20)['ins_results']
    after = predict(predictions, frames, max_per_image=20, topk_before_stuff_removal=True)['ins_results']
    assert len(before) == 20
    assert 0 < len(after) < 20
    assert max(before.labels.max(), after.labels.max()) < THINGS
    assert ((after.scores[:, None] - before.scores).abs().amin(1) < 1e-5).all()


def test_no_instances_have_the_right_shapes():
    predictions, frames = random_predictions(), FRAMES['padded and odd']
    predictions[0].fill_(-20)
    found = predict(predictions, frames, score_thr=0.5)['ins_results']
    assert found.bboxes.shape == (0, 4)
    assert found.masks.shape == (0, *frames.output)
    assert found.scores.shape == found.labels.shape == (0,)


def test_all_instances_dropped_for_their_masks():
    predictions, frames = random_predictions(), FRAMES['no resize']
    predictions[0][:, 0] = 4
    predictions[3].fill_(0)  # class scores above the threshold, masks empty
    found = predict(predictions, frames, score_thr=0.5)['ins_results']
    assert found.masks.shape == (0, *frames.output)
    assert found.bboxes.shape == (0, 4)


def test_without_masks_the_class_score_stands_alone():
    predictions, frames = random_predictions(seed=4), FRAMES['padded and odd']
    detection_only = predict((*predictions[:2], None, None), frames)['ins_results']
    switched_off = predict(predictions, frames, with_masks=False)['ins_results']
    best = predictions[0][:, :THINGS].sigmoid().flatten().sort(descending=True).values
    for found in (detection_only, switched_off):
        assert 'masks' not in found
        torch.testing.assert_close(found.scores, best)
    assert torch.equal(detection_only.bboxes, switched_off.bboxes)


def test_without_rescale_results_are_in_the_resized_images_frame():
    predictions, frames = random_predictions(), FRAMES['padded and odd']
    options = dict(panoptic_on=True, semantic_on=True)
    got = predict(predictions, frames, rescale=False, **options)
    expected = predict(predictions, frames._replace(output=frames.image), **options)
    assert got['ins_results'].masks.shape[1:] == frames.image
    assert_same_results(got, expected)


# ------------------------------------------------------------------------------------------------- panoptic


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(temperature=None),
        dict(overlap_thr=0.3, object_mask_thr=0.1),
        dict(overlap_thr=0.0, object_mask_thr=0.0, temperature=0.2),
        dict(object_mask_thr=0.8),
    ],
)
def test_panoptic_follows_the_definition(seed, options):
    predictions = random_predictions(seed)
    for frames in FRAMES.values():
        got = predict(predictions, frames, panoptic_on=True, **options)['pan_results'].sem_seg
        expected = plain_panoptic(predictions, frames, **options)
        assert got.dtype == torch.int32
        assert got.shape == (1, *frames.output)
        assert (got[0] != expected).float().mean() < 1e-3


def test_panoptic_does_not_depend_on_the_strips(strip_elements):
    predictions, frames = random_predictions(seed=3), FRAMES['padded and odd']
    got = predict(predictions, frames, panoptic_on=True)['pan_results'].sem_seg[0]
    values = got.unique()
    things = values[values >= INSTANCE_OFFSET]
    assert len(things) >= 3  # the case is not an empty one
    assert sorted((things // INSTANCE_OFFSET).tolist()) == list(range(1, len(things) + 1))
    assert (things % INSTANCE_OFFSET < THINGS).all()
    assert (got == plain_panoptic(predictions, frames)).float().mean() > 0.999


def segments(logits, scores):
    """Predictions of one query per mask (n, 16, 24), of thing class 1 with class logits ``scores`` (n,)."""
    cls_logits = torch.full((len(logits), THINGS + STUFF), -9.0)
    cls_logits[:, 1] = torch.tensor(scores)
    return cls_logits, torch.full((len(logits), 4), 0.5), torch.eye(len(logits)), logits


def test_a_covered_segment_is_dropped_for_its_whole_area(strip_elements):
    """The best mask covers the upper half of the second, whose lower strips alone would be its own."""
    logits = torch.full((2, 16, 24), 9.0)
    logits[0, 8:] = -9
    kept, dropped = (
        predict(segments(logits, [5.0, 3.0]), FRAMES['no resize'], panoptic_on=True, overlap_thr=thr, temperature=None)
        for thr in (0.4, 0.6)
    )
    assert kept['pan_results'].sem_seg.unique().tolist() == [1 + INSTANCE_OFFSET, 1 + 2 * INSTANCE_OFFSET]
    assert dropped['pan_results'].sem_seg.unique().tolist() == [THINGS + STUFF, 1 + INSTANCE_OFFSET]


def test_a_pixel_of_probability_one_half_belongs_to_its_segment():
    logits = torch.zeros(2, 16, 24)
    options = dict(panoptic_on=True, overlap_thr=0.6)
    got = predict(segments(logits[:1], [5.0]), FRAMES['no resize'], **options)['pan_results'].sem_seg
    assert (got == 1 + INSTANCE_OFFSET).all()
    logits[0, :8], logits[1, :8], logits[1, 8:] = 9, -9, 9  # the lower half of the first is the second one's
    got = predict(segments(logits, [5.0, 5.0]), FRAMES['no resize'], **options)['pan_results'].sem_seg
    assert got.unique().tolist() == [THINGS + STUFF, 1 + INSTANCE_OFFSET] and (got[0, -1] == 1 + INSTANCE_OFFSET).all()


@pytest.mark.parametrize(('object_mask_thr', 'found'), [(0.5, False), (0.4, True)])
@pytest.mark.parametrize('use_sigmoid', [True, False])
def test_a_query_at_the_threshold_does_not_compete(object_mask_thr, found, use_sigmoid):
    predictions = segments(torch.full((1, 16, 24), 9.0), [0.0])  # the score is a half
    if not use_sigmoid:
        cls_logits = torch.full((1, THINGS + STUFF + 1), -200.0)
        cls_logits[0, 1:3] = 0
        predictions = (cls_logits, *predictions[1:])
    options = dict(panoptic_on=True, object_mask_thr=object_mask_thr, use_sigmoid=use_sigmoid)
    got = predict(predictions, FRAMES['no resize'], **options)['pan_results'].sem_seg
    assert (got != THINGS + STUFF).all() == found


def test_same_stuff_merges_and_same_things_do_not():
    """Two queries of one stuff class on the left and the right, two of one thing class above and below."""
    features = torch.full((4, 16, 24), -9.0)
    features[0, :, :6] = features[1, :, 18:] = features[2, :6, 6:18] = features[3, 10:, 6:18] = 9
    cls_logits = torch.full((4, THINGS + STUFF), -9.0)
    cls_logits[:2, THINGS + 1] = cls_logits[2:, 2] = 5
    predictions = (cls_logits, torch.full((4, 4), 0.5), torch.eye(4), features)
    got = predict(predictions, FRAMES['no resize'], panoptic_on=True)['pan_results'].sem_seg[0]
    assert got.unique().tolist() == [THINGS + 1, THINGS + STUFF, 2 + INSTANCE_OFFSET, 2 + 2 * INSTANCE_OFFSET]
    assert (got[:, [0, -1]] == THINGS + 1).all()
    assert got[0, 48] == 2 + INSTANCE_OFFSET
    assert got[32, 48] == THINGS + STUFF


def test_a_segment_without_pixels_takes_no_number():
    features = torch.full((3, 16, 24), -9.0)
    features[0, :, :8] = features[2, :, 16:] = 9
    cls_logits = torch.full((3, THINGS + STUFF), -9.0)
    cls_logits[:, 1] = 5
    predictions = (cls_logits, torch.full((3, 4), 0.5), torch.eye(3), features)
    got = predict(predictions, FRAMES['no resize'], panoptic_on=True, overlap_thr=0.0)['pan_results'].sem_seg
    assert got.unique().tolist() == [THINGS + STUFF, 1 + INSTANCE_OFFSET, 1 + 2 * INSTANCE_OFFSET]


def test_nothing_panoptic_is_all_void():
    got = predict(random_predictions(), FRAMES['shrunk'], panoptic_on=True, object_mask_thr=1.0)['pan_results'].sem_seg
    assert got.dtype == torch.int32 and (got == THINGS + STUFF).all()


def test_softmax_queries_without_object_take_no_part():
    cls_logits, boxes, embeds, features = random_predictions(seed=5, use_sigmoid=False)
    cls_logits[:, -1] = cls_logits[:, :-1].amax(1) + 0.1  # every query is most likely no object, but not by much
    predictions = (cls_logits, boxes, embeds, features)
    options = dict(use_sigmoid=False, panoptic_on=True, object_mask_thr=0.05)
    got = predict(predictions, FRAMES['no resize'], **options)['pan_results'].sem_seg
    assert (got == THINGS + STUFF).all()
    cls_logits[:7, -1] -= 5
    got = predict(predictions, FRAMES['no resize'], **options)['pan_results'].sem_seg
    assert (got != THINGS + STUFF).any()
    of_the_seven = (cls_logits[:7], boxes[:7], embeds[:7], features)
    assert_same_pixels(got, predict(of_the_seven, FRAMES['no resize'], **options)['pan_results'].sem_seg)


@pytest.mark.parametrize('num_queries', [1, 14, 60])
@pytest.mark.parametrize(
    ('options', 'waits'),
    [
        (dict(panoptic_on=True, instance_on=False, object_mask_thr=0.0), 1),
        (dict(), 1),
        (dict(score_thr=0.1), 2),
        (dict(with_masks=False), 1),
        (dict(instance_on=False, semantic_on=True), 0),
    ],
)
def test_results_wait_once_whatever_their_number(num_queries, options, waits):
    predictions = random_predictions(num_queries=num_queries, mask_dims=64)
    counter = OperationCounter()
    with counter:
        predict(predictions, FRAMES['padded and odd'], **options)
    assert sum(counter.waits.values()) == waits


def test_masks_that_would_fill_a_device_are_made_on_the_cpu(monkeypatch):
    monkeypatch.setattr(device, 'RESULT_BYTES', 20 * 75 * 57 - 1)
    like = torch.empty(1, device='meta')
    assert device.place_of_result(20 * 75 * 57, like) == torch.device('cpu')
    assert device.place_of_result(20 * 75 * 57 - 1, like) == like.device
    places = []
    monkeypatch.setattr(device, 'RESULT_BYTES', 0)
    monkeypatch.setattr(torch.Tensor, 'to', lambda self, place, **_: places.append(place) or self)
    found = predict(random_predictions(), FRAMES['padded and odd'], max_per_image=20)['ins_results']
    assert len(found.masks) == len(found.scores) == 20 and set(places) >= {torch.device('cpu')}


def test_a_panoptic_map_of_many_segments():
    """More than int16 numbers."""
    num = 2**14 + 3
    cls_logits = torch.full((num, THINGS + STUFF), -9.0)
    cls_logits[:, 1], features = 5, torch.full((1, 16, 24), -9.0)
    features[:, 4:8, 4:8] = 9
    embeds = torch.zeros(num, 1)
    embeds[-1] = 1
    found = predict(
        (cls_logits, torch.full((num, 4), 0.5), embeds, features),
        ImageFrames((16, 24), (16, 24), (16, 24)),
        panoptic_on=True,
        instance_on=False,
        overlap_thr=0.0,
    )['pan_results'].sem_seg[0]
    assert (found[5:7, 5:7] == found[5, 5]).all() and found[5, 5] != THINGS + STUFF


# ------------------------------------------------------------------------------------------------- semantic


@pytest.mark.parametrize('before_resize', [True, False])
@pytest.mark.parametrize(('use_sigmoid', 'temperature'), [(True, 0.06), (True, None), (False, 0.06)])
@frames_of_all_kinds
def test_semantic_follows_the_definition(frames, use_sigmoid, temperature, before_resize, strip_elements):
    predictions = random_predictions(use_sigmoid=use_sigmoid)
    cls_logits, _, embeds, features = (x.double() for x in predictions)
    scores = cls_logits.sigmoid() if use_sigmoid else cls_logits.softmax(-1)[:, :-1]
    if use_sigmoid and temperature is not None:
        scores = (scores / temperature).softmax(-1)
    if before_resize:
        on_canvas = full_masks(embeds, features, ImageFrames(frames.canvas, frames.canvas, frames.canvas)).sigmoid()
        maps = torch.einsum('qc,qhw->chw', scores, on_canvas)[:, : frames.image[0], : frames.image[1]]
        maps = F.interpolate(maps[None], frames.output, mode='bilinear')[0]
    else:
        maps = torch.einsum('qc,qhw->chw', scores, full_masks(embeds, features, frames).sigmoid())
    test_cfg = dict(semantic_on=True, temperature=temperature, semantic_before_resize=before_resize)
    head = MaskDINOFusionHead(THINGS, STUFF, use_sigmoid, test_cfg)
    got = head.semantic_scores(ImageQueries(*predictions), frames)
    torch.testing.assert_close(got, maps.float(), atol=1e-5, rtol=1e-4)
    labels = head.predict(*(x[None] for x in predictions), [sample_of(frames)])[0]['sem_results'].sem_seg
    assert labels.shape == (1, *frames.output)
    assert torch.equal(labels[0], got.argmax(0))


# ------------------------------------------------------------------------------------- memory and precision


class LargestFloat(TorchDispatchMode):
    """Remembers the elements of the largest floating point tensor."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            self.numel = max(self.numel, result.numel())
        return result


@pytest.mark.parametrize('pixels', [1, 3 * 75 * 57, 2**28])
@pytest.mark.parametrize('score_thr', [0.0, 0.2, 1.0])
def test_run_length_codes_are_the_masks(pixels, score_thr, monkeypatch):
    monkeypatch.setattr(device, 'HOST_VALUES', pixels // 4)
    predictions, frames = random_predictions(), FRAMES['padded and odd']
    plain = predict(predictions, frames, score_thr=score_thr)['ins_results']
    coded = predict(predictions, frames, score_thr=score_thr, rle_masks=True)['ins_results']
    assert len(coded) == len(coded.masks) == len(plain) and isinstance(coded.masks, list)
    for field in ('scores', 'labels', 'bboxes'):
        torch.testing.assert_close(coded[field], plain[field])
    for code, mask in zip(coded.masks, plain.masks, strict=True):
        assert torch.equal(torch.from_numpy(mask_utils.decode(code)).bool(), mask)


@pytest.mark.parametrize('num_queries', [2, QUERIES])
@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(panoptic_on=True, object_mask_thr=0.0),
        dict(semantic_on=True),
        dict(semantic_on=True, semantic_before_resize=True),
    ],
)
def test_no_float_map_is_larger_than_a_strip(options, num_queries, monkeypatch):
    monkeypatch.setattr(device, 'HOST_VALUES', 8 * 20_000)
    frames = ImageFrames((64, 96), (60, 90), (300, 400))
    with LargestFloat() as largest:
        predict(random_predictions(num_queries=num_queries), frames, **options)
    assert largest.numel <= 20_000
    assert num_queries * frames.output[0] * frames.output[1] > 200_000


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_low_precision_predictions_are_handled_in_float32(dtype):
    predictions = tuple(x.to(dtype) for x in random_predictions(seed=3))
    options = dict(panoptic_on=True, semantic_on=True)
    expected = predict([x.float() for x in predictions], FRAMES['padded and odd'], **options)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        got = predict(predictions, FRAMES['padded and odd'], **options)
    assert_same_results(got, expected)


def test_images_of_a_batch_do_not_mix():
    head = MaskDINOFusionHead(THINGS, STUFF, test_cfg=dict(panoptic_on=True))
    images = [random_predictions(seed) for seed in (1, 2)]
    frames = [FRAMES['padded and odd'], FRAMES['shrunk']]
    together = head.predict(*(torch.stack(x) for x in zip(*images, strict=True)), [sample_of(f) for f in frames])
    for image, frame, result in zip(images, frames, together, strict=True):
        assert_same_results(result, predict(image, frame, panoptic_on=True))
