import itertools

import numpy as np
import pytest

from mmmaskdino.datasets.placement import Axis, resize_about_centers, resize_about_corners


def move(axis, length, steps):
    """An axis and the length of its canvas after some steps."""
    for name, value in steps:
        if name == 'flip':
            axis = axis.flipped(length)
        elif name == 'resize':
            axis, length = axis.resized(value / length), value
        else:
            axis, length = axis.cropped(*value, length), value[1] - value[0]
    return axis, length


@pytest.mark.parametrize(
    'steps',
    list(itertools.permutations([('flip', None), ('resize', 33), ('crop', (2, 12)), ('resize', 7)])),
    ids=lambda steps: '-'.join(name for name, _ in steps),
)
def test_points_go_where_the_steps_say(steps):
    axis, length = Axis(20), 20
    position = 7.3
    for step in steps:
        old = length
        axis, length = move(axis, length, [step])
        name, value = step
        position = old - position if name == 'flip' else position * value / old if name == 'resize' else position - 2
        assert axis.place(np.array([7.3]))[0] == pytest.approx(position)


def test_cells_show_what_lies_at_their_centres():
    rng = np.random.default_rng(0)
    for _ in range(100):
        axis, length = Axis(50), 50
        for _ in range(4):
            name = rng.choice(['flip', 'resize', 'crop'])
            start = int(rng.integers(0, max(1, length // 3)))
            value = (start, start + max(1, length // 2)) if name == 'crop' else int(rng.integers(5, 120))
            axis, length = move(axis, length, [(name, value)])
        first, cells = axis.cells(length)
        centres = np.arange(first, first + len(cells)) + 0.5
        borders = axis.place(np.stack([cells, cells + 1]).astype(float))
        assert (borders.min(0) <= centres + 1e-9).all() and (centres <= borders.max(0) + 1e-9).all()
        low, high = axis.seen(length)
        ends = np.sort(axis.place(np.array([0.0, 50.0])))
        wanted = np.arange(length) + 0.5
        wanted = wanted[(wanted >= max(low, ends[0])) & (wanted < min(high, ends[1]))]
        np.testing.assert_array_equal(centres, wanted)


def test_centres_on_borders_are_read_left_and_right_by_turns():
    assert Axis(12).resized(0.5).cells(6)[1].tolist() == [0, 3, 4, 7, 8, 11]
    assert Axis(12).resized(0.5).cropped(1, 5, 6).cells(4)[1].tolist() == [3, 4, 7, 8]


def test_a_cut_hides_and_the_border_of_the_canvas_does_not():
    axis = Axis(20).cropped(5, 20, 20)
    assert (axis.low, axis.high) == (0, np.inf)
    assert axis.cells(30) == (0, pytest.approx(np.arange(5, 20)))
    assert Axis(20).cropped(0, 8, 20).cells(30)[1].tolist() == list(range(8))


@pytest.mark.parametrize('new', [3, 8, 17, 40])
def test_label_maps(new):
    labels = np.arange(17 * 17, dtype=np.int32).reshape(17, 17)
    centres = [int((i + 0.5) * 17 / new) for i in range(new)]
    corners = [int(i * 17 / new) for i in range(new)]
    np.testing.assert_array_equal(resize_about_centers(labels, (new, 17)), labels[centres])
    np.testing.assert_array_equal(resize_about_corners(labels, (17, new)), labels[:, corners])
