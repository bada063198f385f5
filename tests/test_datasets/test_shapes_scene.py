"""What makes the generated images worth learning from."""

from collections import Counter

import numpy as np
import pytest

from mmmaskdino.datasets.shapes_scene import MAX_THINGS, MIN_VISIBLE_PIXELS, THING_CLASSES, draw_scene

SIZE = 64


def scene(index, size=SIZE):
    return draw_scene(np.random.default_rng((0, index)), size)


@pytest.fixture(scope='module')
def scenes():
    return [scene(index) for index in range(300)]


def thing_labels(scene):
    return [label for label in scene.labels if label < len(THING_CLASSES)]


def test_segments_cover_the_image(scenes):
    for s in scenes:
        assert s.image.shape == (SIZE, SIZE, 3)
        assert s.image.dtype == np.uint8
        areas = np.bincount(s.segment_map.ravel(), minlength=len(s.labels) + 1)
        assert len(areas) == len(s.labels) + 1
        assert areas[1:].min() >= MIN_VISIBLE_PIXELS
        assert areas[0] <= 2 * MIN_VISIBLE_PIXELS  # void: only what is all but hidden


def test_things_come_first_and_stuff_once(scenes):
    for s in scenes:
        num_things = len(thing_labels(s))
        assert num_things <= MAX_THINGS
        assert all(label >= len(THING_CLASSES) for label in s.labels[num_things:])
        stuff = s.labels[num_things:]
        assert len(set(stuff)) == len(stuff)


def test_variety(scenes):
    num_things = Counter(len(thing_labels(s)) for s in scenes)
    assert set(num_things) == set(range(MAX_THINGS + 1))
    assert 0.01 < num_things[0] / len(scenes) < 0.08
    repeated = sum(len(set(thing_labels(s))) < len(thing_labels(s)) for s in scenes)
    assert repeated > 0.3 * len(scenes)
    counts = Counter(label for s in scenes for label in s.labels)
    for labels in (range(6), range(6, 10)):
        values = [counts[label] for label in labels]
        assert min(values) > 0.7 * max(values)
    assert {len(s.labels) - len(thing_labels(s)) for s in scenes} >= {2, 3, 4}
    areas = [(s.segment_map == i + 1).mean() for s in scenes for i in range(len(thing_labels(s)))]
    assert np.percentile(areas, 95) > 6 * np.percentile(areas, 10)


def test_things_hide_one_another(scenes):
    """An ellipse fills at least 0.76 of its bounding box, cut by the border even more; else it is hidden in part."""
    filled = []
    for s in scenes:
        for number, label in enumerate(thing_labels(s), start=1):
            if THING_CLASSES[label] == 'circle':
                rows, columns = np.nonzero(s.segment_map == number)
                filled.append(len(rows) / (np.ptp(rows) + 1) / (np.ptp(columns) + 1))
    assert 0.1 < np.mean(np.array(filled) < 0.7) < 0.5


def test_colours_vary_within_a_segment_and_within_a_class(scenes):
    deviations, means = [], []
    for s in scenes:
        for number, label in enumerate(s.labels, start=1):
            pixels = s.image[s.segment_map == number].astype(float)
            deviations.append(pixels.std(0).mean())
            if label == 0:
                means.append(pixels.mean(0))
    assert np.percentile(deviations, 10) > 4  # texture, shading and noise, of 255
    assert np.std(means, axis=0).max() > 15


def test_same_state_gives_the_same_scene():
    first, second = scene(5), scene(5)
    assert first.labels == second.labels
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.segment_map, second.segment_map)


def test_layout_does_not_depend_on_the_resolution():
    agreement = []
    for index in range(8):
        small, large = (np.array([-1, *s.labels])[s.segment_map] for s in (scene(index, 64), scene(index, 128)))
        agreement.append((small == large[::2, ::2]).mean())
    assert min(agreement) > 0.9
