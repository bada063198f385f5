"""The definition on small maps, where every number can be counted by hand."""

import numpy as np
import pytest

from mmmaskdino.datasets import DataError
from mmmaskdino.evaluation import PanopticImage, PanopticQuality, count_matches

NUM_CLASSES = 3


def make_image(id_map, labels, crowd=(), source='map.png'):
    """An image whose segment i + 1 has class labels[i]; `crowd` lists ids."""
    ids = np.arange(1, len(labels) + 1)
    return PanopticImage(np.array(id_map, np.int32), ids, np.array(labels, np.int64), np.isin(ids, crowd), source)


def table(gt, pred):
    """Counts of all classes: (num_classes, 4) of IoU sum, TP, FP, FN."""
    counts = count_matches(gt, pred, NUM_CLASSES)
    totals = np.zeros((NUM_CLASSES, 4))
    totals[counts.labels] = counts.counts
    return totals


def test_perfect_prediction_under_other_ids():
    gt = make_image([[1, 1, 2, 2, 0]], [0, 2])
    pred = make_image([[2, 2, 1, 1, 0]], [2, 0])
    np.testing.assert_array_equal(table(gt, pred), [[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]])


def test_iou_of_exactly_one_half_does_not_match():
    gt = make_image([[1, 1, 2, 2, 2, 2]], [0, 1])
    half = make_image([[1, 2, 2, 2, 2, 2]], [0, 1])
    np.testing.assert_allclose(table(gt, half), [[0, 0, 1, 1], [0.8, 1, 0, 0], [0, 0, 0, 0]])


def test_other_class_does_not_match():
    gt, pred = make_image([[1, 1]], [0]), make_image([[1, 1]], [1])
    np.testing.assert_array_equal(table(gt, pred), [[0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]])


def test_void_pixels_leave_the_union():
    gt = make_image([[1, 1, 0, 0]], [0])
    pred = make_image([[1, 1, 1, 1]], [0])
    np.testing.assert_array_equal(table(gt, pred)[0], [1, 1, 0, 0])


@pytest.mark.parametrize(('num_void', 'num_false_positives'), [(2, 1), (3, 0)])
def test_prediction_mostly_on_void_is_not_counted(num_void, num_false_positives):
    gt = make_image([[0] * num_void + [1] * (4 - num_void) + [1] * 6], [0])
    pred = make_image([[1] * 4 + [2] * 6], [1, 0])
    assert table(gt, pred)[1, 2] == num_false_positives


@pytest.mark.parametrize(('label', 'num_false_positives'), [(0, 0), (1, 1)])
def test_crowd_forgives_only_its_class(label, num_false_positives):
    gt = make_image([[1, 1, 1, 1]], [0], crowd=[1])
    pred = make_image([[1, 1, 1, 0]], [label])
    counts = table(gt, pred)
    assert counts[label, 2] == num_false_positives
    assert counts[:, [0, 1, 3]].sum() == 0  # a crowd is neither found nor missed


def test_void_and_crowd_add_up():
    gt = make_image([[0, 1, 2, 2]], [0, 1], crowd=[1])
    pred = make_image([[1, 1, 1, 2]], [0, 1])
    assert table(gt, pred)[0, 2] == 0


@pytest.mark.parametrize(('gt_labels', 'pred_labels'), [([], [1]), ([1], []), ([], [])])
def test_without_segments(gt_labels, pred_labels):
    gt, pred = (make_image(np.full((2, 2), len(labels)), labels) for labels in (gt_labels, pred_labels))
    # A prediction on nothing but void is not counted.
    np.testing.assert_array_equal(table(gt, pred).sum(0), [0, 0, 0, len(gt_labels)])


def test_large_ids_stay_apart():
    ids = np.array([256**3 - 1, 256**3 - 2])
    image = PanopticImage(ids[None].astype(np.int32), ids, np.array([0, 1]), np.zeros(2, bool), 'map.png')
    np.testing.assert_array_equal(table(image, image)[:2], [[1, 1, 0, 0]] * 2)


def test_against_the_definition_pixel_set_by_pixel_set():
    rng = np.random.default_rng(0)
    for _ in range(20):
        gt_map = np.kron(rng.integers(0, 6, (3, 3)), np.ones((4, 4), int))
        pred_map = np.where(rng.random((12, 12)) < 0.2, rng.integers(0, 6, (12, 12)), gt_map)
        gt, pred = (relabelled(m, rng.integers(0, NUM_CLASSES, 6)) for m in (gt_map, pred_map))
        np.testing.assert_allclose(table(gt, pred), by_definition(gt, pred), atol=1e-12)


def relabelled(id_map, labels):
    """Number the ids in use from 1."""
    used = np.setdiff1d(id_map, 0)
    return make_image(np.searchsorted(used, id_map) + (id_map > 0), labels[used])


def by_definition(gt, pred):
    counts = np.zeros((NUM_CLASSES, 4))
    void = gt.id_map == 0
    gts = [(gt.id_map == i, label) for i, label in zip(gt.ids, gt.labels, strict=True)]
    preds = [(pred.id_map == i, label) for i, label in zip(pred.ids, pred.labels, strict=True)]
    found, used = set(), set()
    for g, (gt_mask, gt_label) in enumerate(gts):
        for p, (pred_mask, pred_label) in enumerate(preds):
            iou = (gt_mask & pred_mask).sum() / (gt_mask | (pred_mask & ~void)).sum()
            if gt_label == pred_label and iou > 0.5:
                counts[gt_label, :2] += iou, 1
                found.add(g)
                used.add(p)
    for g in set(range(len(gts))) - found:
        counts[gts[g][1], 3] += 1
    for p in set(range(len(preds))) - used:
        mask, label = preds[p]
        counts[label, 2] += (mask & void).sum() <= mask.sum() / 2
    return counts


def test_size_mismatch_names_both():
    gt, pred = make_image([[1, 1]], [0], source='gt.png'), make_image([[1], [1]], [0], source='pred.png')
    with pytest.raises(DataError, match=r'pred\.png.*gt\.png, 2 x 1, got 1 x 2'):
        count_matches(gt, pred, NUM_CLASSES)


@pytest.mark.parametrize(
    ('id_map', 'message'), [([[1, 3]], 'in the PNG: 3, only in the json: 2'), ([[1, 1]], 'in the PNG: none.*json: 2')]
)
def test_disagreeing_ids_name_the_file(id_map, message):
    good, bad = make_image([[1, 2]], [0, 1]), make_image(id_map, [0, 1], source='bad.png')
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(DataError, match=rf'bad\.png.*{message}'):
            count_matches(*pair, NUM_CLASSES)


def test_averages_skip_classes_that_do_not_occur():
    quality = PanopticQuality(NUM_CLASSES)
    quality.add(count_matches(make_image([[1, 1, 1, 1]], [0]), make_image([[1, 1, 1, 0]], [0]), NUM_CLASSES))
    quality.add(count_matches(make_image([[1, 1]], [0]), make_image([[1, 1]], [1]), NUM_CLASSES))
    values = quality.per_class()
    np.testing.assert_allclose(values['pq'], [0.75 / 1.5, 0, 0])
    np.testing.assert_allclose(values['sq'], [0.75, 0, 0])
    np.testing.assert_allclose(values['rq'], [1 / 1.5, 0, 0])
    assert values['occurs'].tolist() == [True, True, False]
    average = quality.average(np.ones(NUM_CLASSES, bool))
    assert average == pytest.approx(dict(pq=0.25, sq=0.375, rq=1 / 3, n=2))
    nothing = quality.average(np.array([False, False, True]))
    assert nothing['n'] == 0
    assert np.isnan([nothing['pq'], nothing['sq'], nothing['rq']]).all()


@pytest.mark.parametrize(
    ('num_ids', 'listed'), [(5, '2, 3, 4, 5, 6, only in the json'), (6, '2, 3, 4, 5, 6, ... (6 ids), only in the json')]
)
def test_many_ids_are_shortened(num_ids, listed):
    id_map = [list(range(1, num_ids + 2))]  # of which only 1 is listed
    with pytest.raises(DataError) as error:
        count_matches(make_image([[1] * (num_ids + 1)], [0]), make_image(id_map, [0]), NUM_CLASSES)
    assert f'only in the PNG: {listed}: none' in str(error.value)


@pytest.mark.filterwarnings('error')
def test_nothing_to_average():
    average = PanopticQuality(2).average(np.array([True, True]))
    assert average.pop('n') == 0
    assert all(np.isnan(value) for value in average.values())


def test_classes_that_do_not_occur_have_quality_zero():
    """Whatever is in the memory that the numbers come to lie in."""
    quality = PanopticQuality(1000)
    for _ in range(20):
        used = [np.full(1000, 7.0) for _ in range(10)]
        del used
        assert not any(quality.per_class()[key].any() for key in ('pq', 'sq', 'rq'))
