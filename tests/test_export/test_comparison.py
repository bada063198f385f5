"""What counts as a difference between two runtimes, and what does not."""

import numpy as np
import pytest

from mmmaskdino.export.comparison import TOLERANCE, compare_raw, compare_results

CANVAS = (64, 96)


@pytest.fixture
def raw():
    random = np.random.default_rng(0)
    return dict(
        class_logits=random.normal(size=(1, 8, 5)).astype(np.float32),
        boxes=random.uniform(size=(1, 8, 4)).astype(np.float32),
        mask_logits=random.normal(size=(1, 8, 16, 24)).astype(np.float32),
    )


@pytest.fixture
def results():
    random = np.random.default_rng(0)
    corners = random.uniform(0, 40, (6, 2))
    return dict(
        scores=np.float32([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]),
        labels=np.arange(6) % 3,
        boxes=np.concatenate([corners, corners + 20], 1).astype(np.float32),
        masks=random.uniform(size=(6, *CANVAS)) > 0.5,
        panoptic=random.integers(3, size=CANVAS),
        semantic=random.integers(3, size=CANVAS),
    )


def copied(outputs):
    return {name: output.copy() for name, output in outputs.items()}


@pytest.mark.parametrize('use_sigmoid', [True, False])
def test_order_of_queries_is_no_difference(raw, use_sigmoid):
    order = np.random.default_rng(1).permutation(8)
    shuffled = {name: output[:, order] for name, output in raw.items()}
    assert compare_raw(raw, shuffled, use_sigmoid) == dict(scores=0, boxes=0, mask_logits=0)


@pytest.mark.parametrize('name', ['class_logits', 'boxes', 'mask_logits'])
def test_one_raw_number(raw, name):
    found = copied(raw)
    found[name][0, 3].flat[0] += 0.1
    differences = compare_raw(raw, found, use_sigmoid=True)
    changed = 'scores' if name == 'class_logits' else name
    assert {key for key, value in differences.items() if value > TOLERANCE} == {changed}
    if changed != 'scores':
        assert differences[changed] == pytest.approx(0.1, abs=1e-6)


def test_not_a_number_is_a_difference(raw):
    found = copied(raw)
    found['mask_logits'][0, 0, 0, 0] = np.nan
    assert not compare_raw(raw, found, use_sigmoid=True)['mask_logits'] <= TOLERANCE


def test_same_results(results):
    assert set(compare_results(results, copied(results), CANVAS, CANVAS).values()) == {0.0}


def test_instances_of_nearly_the_same_score_may_change_places(results):
    results['scores'][1] = results['scores'][0] - 1e-5
    found = {name: x[[1, 0, 2, 3, 4, 5]] if len(x) == 6 else x.copy() for name, x in results.items()}
    found['scores'][:2] = results['scores'][:2]
    differences = compare_results(results, found, CANVAS, CANVAS)
    assert differences.pop('scores') < 2e-5 and set(differences.values()) == {0.0}


@pytest.mark.parametrize('index, is_lost', [(2, True), (5, False)])
def test_only_the_last_instance_may_be_another(results, index, is_lost):
    found = copied(results)
    found['boxes'][index] += 30
    differences = compare_results(results, found, CANVAS, CANVAS)
    assert np.isinf(differences['scores']) == is_lost


def test_another_label_is_another_instance(results):
    found = copied(results)
    found['labels'][0] += 1
    assert np.isinf(compare_results(results, found, CANVAS, CANVAS)['scores'])


def test_missing_instance(results):
    found = {name: x[1:] if len(x) == 6 else x for name, x in results.items()}
    assert np.isinf(compare_results(results, found, CANVAS, CANVAS)['scores'])


def test_no_instances(results):
    none = {name: x[:0] if len(x) == 6 else x for name, x in results.items()}
    assert set(compare_results(none, copied(none), CANVAS, CANVAS).values()) == {0.0}
    assert np.isinf(compare_results(results, none, CANVAS, CANVAS)['scores'])


def test_maps_are_shares_of_pixels_inside_the_image(results):
    found = copied(results)
    found['panoptic'][0, 0] += 1
    found['masks'][4, 0, :2] ^= True
    found['semantic'][60:] = 9  # padding
    differences = compare_results(results, found, CANVAS, (48, 96))
    assert differences['panoptic'] == pytest.approx(1 / (48 * 96))
    assert differences['masks'] == pytest.approx(2 / (48 * 96))
    assert differences['semantic'] == 0


def test_mask_logits_far_beyond_certainty_are_alike(raw):
    raw['mask_logits'][0, 0, 0] = -2000
    found = copied(raw)
    found['mask_logits'][0, 0, 0] = -1999
    assert compare_raw(raw, found, True)['mask_logits'] == 0
    found['mask_logits'][0, 0, 0] = -29
    assert compare_raw(raw, found, True)['mask_logits'] == pytest.approx(1)
    found['mask_logits'][0, 0, 0] = -np.inf
    assert compare_raw(raw, found, True)['mask_logits'] == np.inf


def test_mask_logits_that_fall_steeply_are_compared_as_probabilities(raw):
    raw['mask_logits'][0, 0, 0] = -8
    found = copied(raw)
    found['mask_logits'][0, 0, 0] = -7.99
    assert compare_raw(raw, found, True)['mask_logits'] == pytest.approx(0.01, abs=1e-5)
    assert compare_raw(raw, found, True, steep_masks=True)['mask_logits'] < 1e-5
    found['mask_logits'][0, 0, 0] = 0
    assert compare_raw(raw, found, True, steep_masks=True)['mask_logits'] == pytest.approx(0.5, abs=1e-3)
    found['mask_logits'][0, 0, 0] = np.nan
    assert not compare_raw(raw, found, True, steep_masks=True)['mask_logits'] <= TOLERANCE
