"""Whether a segmentation of a COCO file can be drawn, and where: polygons and run lengths."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from mmmaskdino.datasets.annotation_report import as_json
from mmmaskdino.datasets.coco_values import read_number, read_numbers

MIN_POLYGON_NUMBERS, MAX_LINE_NUMBERS = 6, 8
# The time and memory of drawing a polygon grow with its length, far outside the image, too.
MAX_COORDINATE = 100_000
MAX_RUN = 2**31  # no image has so many pixels
# Letters of compressed run lengths: five bits each and a sixth that says whether more follow.
FIRST_LETTER, LAST_LETTER = 48, 48 + 63

NEEDED = (
    'masks are needed, but the segmentation is missing or empty; draw it, leave the image out (on_fault of the '
    'dataset), or train boxes alone (mmmaskdino data config --boxes-only)'
)
POLYGON_FORM = 'a segmentation must be a list of polygons [[x1, y1, x2, y2, x3, y3, ...], ...] or an RLE'


class Fault(NamedTuple):
    """What is wrong with a segmentation: a text that fits every such case, and what this one has."""

    text: str
    got: str


class Segmentation(NamedTuple):
    """A segmentation that can be drawn."""

    value: list | dict
    """Polygons of at least three points, or an RLE; the object of the file where nothing had to be changed."""
    extent: tuple[float, float, float, float] | None
    """Least x, least y, greatest x and y in pixels; None of an RLE without pixels."""
    num_short: int = 0
    """Polygons below three points, which are left out."""
    from_texts: bool = False
    """Whether numbers stood in quotes."""

    def count_pixels(self, size: Sequence[int]) -> int:
        """Pixels of the mask in an image of the size (h, w)."""
        return int(coco_mask.area(_to_rle(self.value, size)))

    def has_pixels(self, size: Sequence[int]) -> bool:
        """Whether anything of the mask is drawn in an image of the size (h, w). Lines and points are no masks."""
        if self.extent is None:
            return False
        x1, y1, x2, y2 = self.extent
        height, width = size
        is_doubtful = min(x2 - x1, y2 - y1) < 2 or x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height
        if isinstance(self.value, list):  # lines have few points
            is_doubtful |= max(map(len, self.value)) <= MAX_LINE_NUMBERS
        return not is_doubtful or self.count_pixels(size) > 0


def read_segmentation(value: Any, size: Sequence[int]) -> Segmentation | Fault:
    """Check a segmentation and put it into a form that mmdet and pycocotools read alike.

    Args:
        value: As it stands in the file.
        size: Of the image, (h, w) in pixels.
    """
    if isinstance(value, dict):
        return _read_rle(value, size)
    if value is None or value == [] or value == '':
        return Fault(NEEDED, f'got {as_json(value)}')
    if not isinstance(value, list):
        return Fault(POLYGON_FORM, f'got {as_json(value)}')
    return _read_polygons(value)


def _read_polygons(polygons: list) -> Segmentation | Fault:
    if set(map(type, polygons)) != {list}:
        return Fault(POLYGON_FORM, f'got {as_json(polygons)}')
    numbers = [read_numbers(polygon) for polygon in polygons]
    if None in numbers:
        wrong = next(value for value in chain(*polygons) if read_number(value) is None)
        if isinstance(wrong, (list, dict)):
            form = 'a polygon must be one list of numbers, [[x1, y1, x2, y2, ...], ...], not a list of points'
            return Fault(form, f'got {as_json(polygons)}')
        return Fault('values of a polygon must be finite numbers', f'got {as_json(wrong)}')
    lengths = [len(polygon) for polygon in polygons]
    if any(length % 2 for length in lengths):
        return Fault('a polygon needs pairs x, y, and one has an odd number of values', f'got the lengths {lengths}')
    kept = [polygon for polygon in numbers if len(polygon) >= MIN_POLYGON_NUMBERS]
    if not kept:
        return Fault(
            'a polygon needs at least three points (6 values); draw it again or remove it', f'got the lengths {lengths}'
        )
    xs, ys = [polygon[::2] for polygon in kept], [polygon[1::2] for polygon in kept]
    extent = (min(map(min, xs)), min(map(min, ys)), max(map(max, xs)), max(map(max, ys)))
    farthest = max(extent, key=abs)
    if abs(farthest) > MAX_COORDINATE:
        text = f'a polygon has a point more than {MAX_COORDINATE} pixels away; correct or remove it'
        return Fault(text, f'got {as_json(farthest)}')
    from_texts = any(new is not old for new, old in zip(numbers, polygons, strict=True))
    num_short = len(polygons) - len(kept)
    return Segmentation(kept if num_short or from_texts else polygons, extent, num_short, from_texts)


def _read_rle(rle: dict, size: Sequence[int]) -> Segmentation | Fault:
    height, width = size
    given = rle.get('size')
    if (read_numbers(given) if isinstance(given, list) else None) != [height, width]:
        swapped = '; it is [width, height]' if given == [width, height] else ''
        return Fault(
            'the size of an RLE must be that of its image, [height, width]',
            f'expected [{height}, {width}], got {as_json(given)}{swapped}',
        )
    counts = rle.get('counts')
    if not isinstance(counts, (str, list)) or not counts:
        text = "an RLE needs 'counts', a text (compressed) or a list of run lengths"
        return Fault(text, f'got {as_json(counts)}')
    runs = _read_text_runs(counts) if isinstance(counts, str) else _read_run_list(counts)
    if isinstance(runs, Fault):
        return runs
    if runs.min() < 0:
        return Fault('the run lengths of an RLE must not be below 0', f'got {int(runs.min())}')
    if int(runs.sum()) != height * width:
        return Fault(
            'the run lengths of an RLE must add up to the pixels of its image, height x width',
            f'expected {height * width}, got {int(runs.sum())}',
        )
    value, from_texts = rle, False
    if isinstance(counts, list) and set(map(type, counts)) != {int}:
        value, from_texts = dict(rle, counts=runs.tolist()), str in map(type, counts)
    if given != [height, width] or set(map(type, given)) != {int}:
        value = dict(value, size=[height, width])
    return Segmentation(value, _extent_of_runs(runs, height), from_texts=from_texts)


def _read_run_list(counts: list) -> np.ndarray | Fault:
    numbers = read_numbers(counts)
    if numbers is None or (set(map(type, numbers)) != {int} and any(number != int(number) for number in numbers)):
        wrong = next(value for value in counts if (number := read_number(value)) is None or number != int(number))
        return Fault('the run lengths of an RLE must be whole numbers', f'got {as_json(wrong)}')
    if max(numbers) > MAX_RUN or min(numbers) < -MAX_RUN:
        return Fault('the run lengths of an RLE must be those of an image', f'got {as_json(max(numbers, key=abs))}')
    return np.array(numbers, np.int64)


def _read_text_runs(counts: str) -> np.ndarray | Fault:
    """The run lengths that COCO's compressed form stands for; pycocotools decodes what is no such text, too."""
    if counts[:2] in ("b'", 'b"'):
        return Fault(
            "the 'counts' of an RLE hold the text of a Python bytes object; write counts.decode() to the file",
            f'got {as_json(counts)}',
        )
    if not counts.isascii() or min(counts) < chr(FIRST_LETTER) or max(counts) > chr(LAST_LETTER):
        wrong = next(letter for letter in counts if not FIRST_LETTER <= ord(letter) <= LAST_LETTER)
        return Fault("the 'counts' of an RLE have a letter that cannot occur in it", f'got {as_json(wrong)}')
    bits = np.frombuffer(counts.encode(), np.uint8).astype(np.int64) - FIRST_LETTER
    (ends,) = np.nonzero(bits & 0x20 == 0)
    cut_off = Fault("the 'counts' of an RLE are cut off", f'got {as_json(counts)}')
    if not len(ends) or ends[-1] != len(bits) - 1:
        return cut_off
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(bits)) - np.repeat(starts, ends - starts + 1)
    if place.max() > 6:  # 35 bits; no image has so many pixels
        return Fault("the 'counts' of an RLE are no run lengths", f'got {as_json(counts)}')
    runs = np.add.reduceat((bits & 0x1F) << 5 * place, starts)
    runs -= ((bits[ends] & 0x10) != 0) * (np.int64(1) << 5 * (place[ends] + 1))
    # From the fourth on, each is the difference to the one two before.
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def _extent_of_runs(runs: np.ndarray, height: int) -> tuple[int, int, int, int] | None:
    """Extent of a mask of run lengths, which go down the columns, in pixels; None without pixels."""
    ends = np.cumsum(runs)[1::2]
    lengths = runs[1::2]
    starts, ends = (ends - lengths)[lengths > 0], ends[lengths > 0] - 1
    if not len(starts):
        return None
    left, right = starts // height, ends // height
    over = right > left  # such a run touches the lower and the upper border
    top = 0 if over.any() else int((starts % height).min())
    bottom = height - 1 if over.any() else int((ends % height).max())
    return int(left.min()), top, int(right.max()) + 1, bottom + 1


def _to_rle(value: list | dict, size: Sequence[int]) -> dict:
    if isinstance(value, list):
        return coco_mask.merge(coco_mask.frPyObjects(value, *size))
    return coco_mask.frPyObjects(value, *size) if isinstance(value['counts'], list) else value


def is_far_outside(extent: tuple[float, float, float, float], size: Sequence[int]) -> bool:
    """Whether a mask reaches beyond the image by more than the image's own size."""
    height, width = size
    x1, y1, x2, y2 = extent
    return x1 < -width or y1 < -height or x2 > 2 * width or y2 > 2 * height
