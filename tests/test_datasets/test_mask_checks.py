import itertools

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmmaskdino.datasets.mask_checks import Fault, Segmentation, read_segmentation

SIZE = (20, 30)
SQUARE = [2, 3, 12, 3, 12, 11, 2, 11]


def encode(mask: np.ndarray) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {'size': rle['size'], 'counts': rle['counts'].decode()}


def run_lengths(mask: np.ndarray) -> list[int]:
    """Lengths of the runs down the columns, that of zeros first."""
    runs = [(value, len(list(run))) for value, run in itertools.groupby(mask.T.ravel().tolist())]
    return [0] * runs[0][0] + [length for _, length in runs]


@pytest.fixture
def masks() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = [np.zeros(SIZE, bool) for _ in range(3)]
    shapes[1][5:9, 7:22] = shapes[2][0, 0] = True
    noise = [generator.random(SIZE) < share for share in (0.01, 0.3, 0.7, 0.99)]
    columns = np.zeros(SIZE, bool)
    columns[:, 4:6] = True
    return [*shapes, *noise, columns, np.ones(SIZE, bool)]


def test_what_can_be_drawn_is_read_as_pycocotools_draws_it(masks):
    for mask in masks:
        ys, xs = np.nonzero(mask)
        expected = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else None
        compressed = encode(mask)
        for rle in (compressed, {'size': list(SIZE), 'counts': run_lengths(mask)}):
            read = read_segmentation(rle, SIZE)
            assert isinstance(read, Segmentation) and read.value is rle
            assert read.count_pixels(SIZE) == mask.sum()
            left, top, right, bottom = read.extent or (0, 0, 0, 0)
            if expected is None:
                assert read.extent is None
            else:
                assert (left, right) == (expected[0], expected[2])
                # A run over two columns reaches both borders, so the extent may be too high, not too low.
                assert top <= expected[1] and bottom >= expected[3]
    assert read_segmentation(encode(masks[1]), SIZE).extent == (7, 5, 22, 9)


def test_long_run_lengths_and_differences():
    """Numbers of several letters, falling and rising."""
    generator = np.random.default_rng(1)
    for _ in range(50):
        size = (int(generator.integers(2, 3000)), int(generator.integers(2, 60)))
        mask = np.zeros(size[0] * size[1], bool)
        for start in generator.integers(0, mask.size, 12):
            mask[start : start + generator.integers(1, 5000)] = True
        mask = mask.reshape(size[::-1]).T
        assert read_segmentation(encode(mask), size).count_pixels(size) == mask.sum()


def test_polygons_are_kept():
    polygons = [SQUARE, [20.5, 1, 25, 1, 25, 6]]
    read = read_segmentation(polygons, SIZE)
    assert read.value is polygons and read.extent == (2, 1, 25, 11) and read.num_short == 0
    assert read.count_pixels(SIZE) == coco_mask.area(coco_mask.merge(coco_mask.frPyObjects(polygons, *SIZE)))
    short = read_segmentation([[1, 2, 3, 4], SQUARE], SIZE)
    assert short.value == [SQUARE] and short.num_short == 1
    texts = read_segmentation([[str(number) for number in SQUARE]], SIZE)
    assert texts.value == [SQUARE] and texts.from_texts


@pytest.mark.parametrize(
    ('value', 'text', 'got'),
    [
        (None, 'missing or empty', 'null'),
        ([], 'missing or empty', '[]'),
        (SQUARE, 'list of polygons', '[2, 3, 12'),
        ('POLYGON', 'list of polygons', '"POLYGON"'),
        ([[]], 'at least three points', '[0]'),
        ([[1, 2, 3, 4], [1, 2]], 'at least three points', '[4, 2]'),
        ([SQUARE, SQUARE[:7]], 'odd number of values', '[8, 7]'),
        ([[[2, 3], [12, 3], [12, 11], [2, 11]]], 'not a list of points', '[[[2, 3], [12'),
        ([[{'x': 1, 'y': 2}] * 6], 'not a list of points', '[[{"x": 1'),
        ([[*SQUARE[:7], float('nan')]], 'finite numbers', 'NaN'),
        ([[*SQUARE[:7], float('inf')]], 'finite numbers', 'Infinity'),
        ([[*SQUARE[:7], None]], 'finite numbers', 'null'),
        ([[*SQUARE[:7], True]], 'finite numbers', 'true'),
        ([[*SQUARE[:7], 'x']], 'finite numbers', '"x"'),
        ([[*SQUARE[:7], 10_000_000]], 'more than 100000 pixels away', '10000000'),
        ([[*SQUARE[:7], -(10**400)]], 'finite numbers', '-1000'),
        ({'size': [30, 20], 'counts': [600]}, 'size of an RLE', 'expected [20, 30], got [30, 20]; it is [width'),
        ({'counts': [600]}, 'size of an RLE', 'got null'),
        ({'size': 'x', 'counts': [600]}, 'size of an RLE', 'got "x"'),
        ({'size': [20, 30]}, "needs 'counts'", 'null'),
        ({'size': [20, 30], 'counts': ''}, "needs 'counts'", '""'),
        ({'size': [20, 30], 'counts': 7}, "needs 'counts'", '7'),
        ({'size': [20, 30], 'counts': [500, 99]}, 'add up to', 'expected 600, got 599'),
        ({'size': [20, 30], 'counts': [500, -5, 105]}, 'below 0', '-5'),
        ({'size': [20, 30], 'counts': [500, 50.5, 49.5]}, 'whole numbers', '50.5'),
        ({'size': [20, 30], 'counts': [500, None, 100]}, 'whole numbers', 'null'),
        ({'size': [20, 30], 'counts': [10**30]}, 'those of an image', '1000'),
        ({'size': [20, 30], 'counts': "b'`04L4'"}, 'Python bytes', "b'`04L4'"),
        ({'size': [20, 30], 'counts': 'h04ä'}, 'a letter that cannot occur', '"ä"'),
        ({'size': [20, 30], 'counts': 'h0 4'}, 'a letter that cannot occur', '" "'),
        ({'size': [20, 30], 'counts': 'oooooooooooo0'}, 'no run lengths', 'oooo'),
        ({'size': [20, 30], 'counts': '0o'}, 'cut off', '"0o"'),
    ],
)
def test_what_cannot_be_drawn(value, text, got):
    fault = read_segmentation(value, SIZE)
    assert isinstance(fault, Fault)
    assert text in fault.text and got in fault.got


def test_a_text_that_was_cut_off_is_never_a_mask(masks):
    """pycocotools draws whatever is in the memory."""
    for mask in masks[3:6]:
        rle = encode(mask)
        for length in range(1, len(rle['counts'])):
            assert isinstance(read_segmentation(dict(rle, counts=rle['counts'][:length]), SIZE), Fault)


def test_numbers_of_another_kind_become_whole_ones():
    read = read_segmentation({'size': [20.0, '30'], 'counts': [43.0, '8', 549]}, SIZE)
    assert read.value == {'size': [20, 30], 'counts': [43, 8, 549]} and read.from_texts
    assert all(type(number) is int for number in read.value['counts'] + read.value['size'])
    assert read.count_pixels(SIZE) == 8
