"""Draw one generated scene: coloured shapes that occlude one another over textured ground."""

import colorsys
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

Range = tuple[float, float]

THING_CLASSES = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')
STUFF_CLASSES = ('grass', 'sand', 'water', 'bricks')

MAX_THINGS = 5
EMPTY_FRACTION = 0.04  # share of images without things
RADIUS_RANGE = (0.09, 0.26)  # of the image's side
MIN_VISIBLE_PIXELS = 20  # what shows less of itself is void: nobody could name it
SUPERSAMPLING = 4

# Hue in degrees. Neighbours are at least 50 apart and the spread is cut at 22: hue tells the class, but is no constant.
THING_HUES = (0, 50, 112, 172, 232, 298)
HUE_DEVIATION, HUE_LIMIT = 9.0, 22.0


class Scene(NamedTuple):
    """An image and its panoptic ground truth.

    Attributes:
        image: (size, size, 3) uint8, RGB.
        segment_map: (size, size) int32; 0 is void, i >= 1 the pixels of segment i.
        labels: class index of segment 1, 2, ...; things (0 .. 5) from back to front, then stuff (6 .. 9). Every segment
            has visible pixels; each stuff class is at most one segment.
    """

    image: np.ndarray
    segment_map: np.ndarray
    labels: tuple[int, ...]


def draw_scene(rng: np.random.Generator, size: int) -> Scene:
    """Draw one scene.

    Args:
        rng: Source of every random choice: the same state gives the same scene.
        size: Side of the square image in pixels, at least 32.
    """
    u, v = _coordinates(size)
    regions, stuff_labels = _divide_ground(rng, u, v)
    image = np.zeros((size, size, 3), np.float32)
    for region, label in enumerate(stuff_labels):
        inside = regions == region
        image[inside] = _paint_stuff(rng, label, u, v)[inside]

    thing_labels = _choose_thing_labels(rng)
    owner = np.zeros((size, size), np.int32)  # 0: ground, i: the i-th thing
    for index, label in enumerate(thing_labels, start=1):
        center, radius = _place_thing(rng)
        coverage = _cover(_outline(rng, label, center, radius), size)
        owner[coverage >= 0.5] = index
        window = _window(center, radius, size)
        colors = _paint_thing(rng, label, (u[window] - center[0]) / radius, (v[window] - center[1]) / radius)
        image[window] += coverage[window][..., None] * (colors - image[window])

    segment_map, labels = _visible_segments(owner, thing_labels, regions, stuff_labels)
    return Scene(_expose(rng, image, u, v), segment_map, labels)


def _coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres in [0, 1]: u (to the right) and v (downwards), each (size, size) float32."""
    centers = (np.arange(size, dtype=np.float32) + 0.5) / size
    return np.meshgrid(centers, centers)


def _choose_thing_labels(rng: np.random.Generator) -> list[int]:
    """Class indices of the things to draw, back to front; nearly half of the images repeat a class."""
    if rng.random() < EMPTY_FRACTION:
        return []
    return rng.integers(len(THING_CLASSES), size=rng.integers(1, MAX_THINGS + 1)).tolist()


def _place_thing(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Centre (2,) and radius in [0, 1] coordinates, anywhere: things hide one another by chance."""
    return rng.uniform(0.08, 0.92, 2), rng.uniform(*RADIUS_RANGE)


def _window(center: np.ndarray, radius: float, size: int) -> tuple[slice, slice]:
    """Rows and columns of the pixels that a thing can touch."""
    start = np.maximum(np.floor((center - radius) * size).astype(int) - 1, 0)
    stop = np.ceil((center + radius) * size).astype(int) + 1
    return slice(start[1], stop[1]), slice(start[0], stop[0])


def _on_circle(num_points: int, radius: float | np.ndarray = 1.0) -> np.ndarray:
    angles = np.arange(num_points) * (2 * np.pi / num_points)
    return np.stack([radius * np.sin(angles), -radius * np.cos(angles)], axis=1)


def _unit_outline(label: int) -> list[np.ndarray]:
    """Closed contours (n, 2) of a shape within the unit circle; a second contour is a hole."""
    arm = 0.36
    quarter = np.array([(-arm, -1), (arm, -1), (arm, -arm)]) / np.hypot(1, arm)
    turns = [quarter @ np.array([(c, s), (-s, c)]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    return {
        'circle': [_on_circle(48, 0.92)],
        'square': [_on_circle(4)],
        'triangle': [_on_circle(3)],
        'star': [_on_circle(10, np.where(np.arange(10) % 2, 0.45, 1.0))],
        'cross': [np.concatenate(turns)],
        'ring': [_on_circle(48), _on_circle(48, 0.5)],
    }[THING_CLASSES[label]]


def _outline(rng: np.random.Generator, label: int, center: np.ndarray, radius: float) -> list[np.ndarray]:
    """The shape's contours squeezed, turned and moved to its place, in [0, 1] coordinates."""
    angle = rng.uniform(0, 2 * np.pi)
    squeeze = np.diag([1.0, rng.uniform(0.78, 1.0)])
    turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    return [contour @ squeeze @ turn * radius + center for contour in _unit_outline(label)]


def _cover(contours: list[np.ndarray], size: int) -> np.ndarray:
    """Share of each pixel inside the contours (even-odd rule), (size, size) float32 in [0, 1]."""
    fine = size * SUPERSAMPLING
    shift = 4  # fractional bits of the corners
    corners = [np.rint((contour * fine - 0.5) * (1 << shift)).astype(np.int32) for contour in contours]
    canvas = np.zeros((fine, fine), np.uint8)
    cv2.fillPoly(canvas, corners, 255, shift=shift)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _divide_ground(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Cut the image into two to four regions of different stuff.

    Returns:
        (size, size) region indices and the class index of each region.
    """
    num_regions = int(rng.integers(2, 5))
    regions = np.zeros(u.shape, np.int32)
    for region in range(1, num_regions):
        cut = regions == np.bincount(regions.ravel()).argmax()
        center = np.array([u[cut].mean(), v[cut].mean()]) + rng.uniform(-0.12, 0.12, 2)
        regions[cut & _cut_side(rng, u - center[0], v - center[1])] = region
    stuff = rng.permutation(len(STUFF_CLASSES))[:num_regions]
    return regions, [len(THING_CLASSES) + int(index) for index in stuff]


def _cut_side(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """One side of a random cut through the origin: a blob, or a half plane with a straight or wavy border."""
    along, across = _turned(x, y, rng.uniform(0, 2 * np.pi))
    if rng.random() < 0.25:
        angle = np.arctan2(across, along)
        bulges = rng.uniform(0.1, 0.25) * np.sin(2 * angle + 6 * rng.random()) + 0.12 * np.sin(3 * angle)
        return np.hypot(x, y) < rng.uniform(0.22, 0.34) * (1 + bulges)
    wave = rng.choice([0.0, 1.0]) * rng.uniform(0.02, 0.08)
    return across > wave * np.sin(2 * np.pi * (rng.uniform(0.8, 3.0) * along + rng.random()))


def _turned(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * x + s * y, c * y - s * x


def _smooth_noise(rng: np.random.Generator, size: int, columns: int, rows: int) -> np.ndarray:
    """Noise in about [-1, 1] with the given number of bumps across and down, (size, size) float32."""
    return cv2.resize(
        rng.uniform(-1, 1, (rows, columns)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
    )


def _color(
    rng: np.random.Generator, hue: float, saturation: tuple[float, float], value: tuple[float, float]
) -> np.ndarray:
    rgb = colorsys.hsv_to_rgb(hue / 360 % 1, rng.uniform(*saturation), rng.uniform(*value))
    return np.array(rgb, np.float32)


def _grass(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    size = len(u)
    blades = _smooth_noise(rng, size, int(rng.integers(40, 60)), int(rng.integers(8, 14)))
    return 0.25 * blades + 0.12 * _smooth_noise(rng, size, 5, 5)


def _sand(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    cells = int(rng.integers(36, 48))
    grains = _smooth_noise(rng, len(u), cells, cells)
    return -0.35 * (grains > 0.55) + 0.1 * _smooth_noise(rng, len(u), 4, 4)


def _water(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    along, across = _turned(u, v, rng.uniform(-0.35, 0.35))
    bend = 0.35 * np.sin(2 * np.pi * (rng.uniform(1, 3) * along + rng.random()))
    return 0.22 * np.sin(2 * np.pi * (rng.uniform(9, 15) * across + bend)) + 0.1 * _smooth_noise(rng, len(u), 6, 6)


def _bricks(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    along, across = _turned(u, v, rng.uniform(-0.5, 0.5))
    rows = rng.uniform(8, 13)
    row = np.floor(rows * across + rng.random())
    column = rows / 2 * along + 0.5 * (row % 2)
    mortar = ((rows * across) % 1 < 0.16) | (column % 1 < 0.09)
    brick_shade = np.sin(12.9898 * row + 78.233 * np.floor(column))  # one fixed tone per brick
    return np.where(mortar, 0.35, 0.12 * brick_shade).astype(np.float32)


# Per stuff class: hue range, saturation range, value range, brightness pattern.
_STUFF: dict[str, tuple[Range, Range, Range, Callable]] = {
    'grass': ((78, 122), (0.35, 0.6), (0.35, 0.6), _grass),
    'sand': ((32, 50), (0.2, 0.42), (0.65, 0.88), _sand),
    'water': ((192, 225), (0.3, 0.55), (0.45, 0.75), _water),
    'bricks': ((0, 22), (0.2, 0.42), (0.38, 0.6), _bricks),
}


def _paint_stuff(rng: np.random.Generator, label: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Colours of a whole image of one stuff class, (size, size, 3) float32."""
    hues, saturation, value, pattern = _STUFF[STUFF_CLASSES[label - len(THING_CLASSES)]]
    color = _color(rng, rng.uniform(*hues), saturation, value)
    return color * (1 + pattern(rng, u, v))[..., None]


def _paint_thing(rng: np.random.Generator, label: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Colours of a thing, (size, size, 3) float32; x, y are relative to its centre in units of its radius."""
    deviation = np.clip(rng.normal(0, HUE_DEVIATION), -HUE_LIMIT, HUE_LIMIT)
    color = _color(rng, THING_HUES[label] + deviation, (0.6, 1.0), (0.6, 1.0))
    along, across = _turned(x, y, rng.uniform(0, 2 * np.pi))
    frequency = rng.uniform(1.5, 3.0)
    stripes, posts = np.sin(2 * np.pi * frequency * along), np.sin(2 * np.pi * frequency * across)
    patterns = (np.zeros_like(x), np.sign(stripes), np.sign(stripes * posts), (stripes * posts > 0.4) * 1.5 - 0.5)
    pattern = patterns[rng.integers(len(patterns))]
    light = rng.uniform(0.05, 0.2) * np.clip(_turned(x, y, rng.uniform(0, 2 * np.pi))[0], -1, 1)
    return color * (1 + rng.uniform(0.08, 0.22) * pattern + light)[..., None].astype(np.float32)


def _visible_segments(
    owner: np.ndarray, thing_labels: list[int], regions: np.ndarray, stuff_labels: list[int]
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Number the segments that are visible enough; the pixels of the others become void."""
    num_things = len(thing_labels)
    raw_map = np.where(owner > 0, owner, num_things + 1 + regions)
    areas = np.bincount(raw_map.ravel(), minlength=num_things + len(stuff_labels) + 1)
    kept = areas >= MIN_VISIBLE_PIXELS
    new_numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    labels = (None, *thing_labels, *stuff_labels)
    return new_numbers[raw_map], tuple(labels[i] for i in np.flatnonzero(kept))


def _expose(rng: np.random.Generator, image: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Light from one side, camera noise, 8 bits."""
    light = 1 + rng.uniform(0.0, 0.3) * _turned(u - 0.5, v - 0.5, rng.uniform(0, 2 * np.pi))[0]
    noise = rng.uniform(0.01, 0.04) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.rint(255 * np.clip(image * light[..., None] + noise, 0, 1)).astype(np.uint8)
