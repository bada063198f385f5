"""Results for images that are predicted tile by tile, in memory that does not grow with them."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.visualization.palette import get_palette
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from scipy import ndimage

from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.panoptic_png import ids_to_rgb
from mmmaskdino.models.tta.scenes import SceneMerger, SceneResults, Segment
from mmmaskdino.models.tta.tiles import SceneObject, scene_rle
from mmmaskdino.plain_text import printable
from mmmaskdino.tile_grid import Region, Tile, TileGrid
from mmmaskdino.visualization import MaskDINOVisualizer

from .drawing import picture_scale
from .prediction import NOTHING, Prediction, Segments, _import
from .window_reading import Windows, open_windows

if TYPE_CHECKING:
    import supervision

    from .predictor import Predictor, Source

T = TypeVar('T')
PICTURE_SIDE = 2048  # longest side in pixels of what is kept of a scene's own image
MANY = 100  # objects in a picture; names would hide more, and each has a map of the picture's size
ROWS = COLUMNS = 256  # of a map that are read together


class MapFile:
    """An array in a file without a name, which is gone with the array; it takes the memory of what is in use.

    Args:
        shape: Of the array.
        dtype: Of the array.

    Raises:
        DataError: There is no room for it.
    """

    def __init__(self, shape: tuple[int, int], dtype: type) -> None:
        num_bytes = shape[0] * shape[1] * np.dtype(dtype).itemsize
        with tempfile.TemporaryFile() as file:  # in TMPDIR
            file.truncate(num_bytes)
            _reserve(file.fileno(), num_bytes, shape)
            self._memory = mmap.mmap(file.fileno(), num_bytes)
        self.array: np.ndarray = np.frombuffer(self._memory, dtype).reshape(shape)

    def release(self) -> None:
        """Give the memory back, where the system can; the values stay."""
        if hasattr(mmap, 'MADV_DONTNEED'):
            self._memory.madvise(mmap.MADV_DONTNEED)

    def masks(self, value: int, region: Region) -> Iterator[tuple[np.ndarray, Region]]:
        """Where a value is in a region, some columns at a time."""
        for left in range(region.left, region.right, COLUMNS):
            part = region._replace(left=left, right=min(left + COLUMNS, region.right))
            yield self.array[part.slices] == value, part
            self.release()

    def strips(self) -> Iterator[np.ndarray]:
        """Its rows, some at a time."""
        for top in range(0, len(self.array), ROWS):
            yield self.array[top : top + ROWS]
            self.release()


@dataclass(eq=False, repr=False)
class ScenePrediction(Prediction):
    """Results for an image that was predicted in tiles; `image` is a reduced picture of it, `sample` is empty.

    Attributes:
        results: Instances, each with its mask in its own region, and panoptic segments.
        panoptic: Ids of the segments, 1 for the first; None without panoptic results.
        semantic: Labels; None without semantic results.
    """

    results: SceneResults = field(default_factory=lambda: SceneResults(None, None))
    panoptic: MapFile | None = None
    semantic: MapFile | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The results that are there, some of 'panoptic', 'instances', 'semantic'."""
        there = dict(
            panoptic=self.panoptic is not None,
            instances=self.results.instances is not None,
            semantic=self.semantic is not None,
        )
        return tuple(kind for kind, is_there in there.items() if is_there)

    def summary(self, kind: str | None = None) -> str:
        """As of `Prediction`."""
        kind = self._kind(kind)
        if kind == 'instances':
            rows = [(found.label, 0) for found in self._instances()]
            things = len(self.names)
        else:
            rows = [(row['label'], row['area']) for row in self._areas(kind)]
            things = 0 if kind == 'semantic' else self.num_things or 0
        objects = Counter(label for label, _ in rows if label < things).most_common()
        parts = [f'{count} {self.names[label]}' for label, count in objects]
        parts += [self.names[label] for label, _ in rows if label >= things]
        return printable(', '.join(parts)) or NOTHING

    def objects(self, masks: bool = True) -> Iterator[dict[str, Any]]:
        """As of `Prediction`."""
        for found in self._instances():
            x1, y1, x2, y2 = found.box
            entry = {
                'class': self.names[found.label],
                'label': found.label,
                'score': found.score,
                'box': [x1, y1, x2, y2],
                'area': (x2 - x1) * (y2 - y1),
            }
            if masks and found.counts is not None:
                entry['area'] = found.area
                entry['segmentation'] = _text_of(found.rle(self.size))
            yield entry

    def segments(self) -> Segments:
        """As of `Prediction`; the ids are in a file."""
        return Segments(self._there('panoptic', self.panoptic).array, [one.label for one in self._segments()])

    def labels(self) -> np.ndarray:
        """As of `Prediction`, of 8 or 16 bits; they are in a file."""
        return self._there('semantic', self.semantic).array

    def areas(self, kind: str, masks: bool = False) -> Iterator[dict[str, Any]]:
        """As of `Prediction`."""
        if kind == 'panoptic':
            found, values = list(enumerate(self._segments(), start=1)), self._there(kind, self.panoptic)
        else:
            found, values = self._classes(), self._there('semantic', self.semantic)
        for value, one in found:
            box = [one.region.left, one.region.top, *one.region.shape[::-1]]
            entry: dict[str, Any] = dict(label=one.label, bbox=box, area=one.area)
            if masks:
                entry['segmentation'] = _text_of(scene_rle(values.masks(value, one.region), self.size))
            yield entry

    def save_segments(self, path: Path) -> None:
        """As of `Prediction`."""
        strips = self._there('panoptic', self.panoptic).strips()
        write_png(path, self.size, (ids_to_rgb(rows) for rows in strips))

    def save_labels(self, path: Path, dtype: type) -> None:
        """As of `Prediction`."""
        strips = self._there('semantic', self.semantic).strips()
        write_png(path, self.size, (rows.astype(dtype) for rows in strips))

    def draw(self, kind: str | None = None, max_side: int = PICTURE_SIDE) -> np.ndarray:
        """As of `Prediction`, at most 2048 pixels wide and high; more than a hundred objects without their names."""
        kind = self._kind(kind)
        scale = picture_scale(self.image.shape, max_side)
        picture = cv2.resize(self.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[..., ::-1]
        picture = np.ascontiguousarray(picture)
        if kind == 'instances':
            return self._draw_instances(picture)
        rows, columns = (
            ((np.arange(new) + 0.5) * old / new).astype(int)
            for new, old in zip(picture.shape[:2], self.size, strict=True)
        )
        void = len(self.names)
        if kind == 'semantic':
            labels, values = list(range(2**16)), self._there(kind, self.semantic)
        else:
            labels, values = [void, *(one.label for one in self._segments())], self._there(kind, self.panoptic)
        ids = np.stack([values.array[row, columns] for row in rows])
        if len(labels) > MANY and kind == 'panoptic':
            return self._paint(picture, ids, np.array(labels))
        of_id = np.array(labels)
        numbers = np.where(of_id < (self.num_things or 0), np.arange(len(of_id)), 0) * (kind == 'panoptic')
        shown = np.where(of_id < void, of_id + numbers * INSTANCE_OFFSET, void).astype(np.int32)[ids]
        return self._visualizer().draw_panoptic(picture, PixelData(sem_seg=torch.from_numpy(shown)[None]))

    def to_supervision(self) -> supervision.Detections:
        """As of `Prediction`, without masks, each of which would be as large as the scene."""
        found = list(self.objects(masks=False))
        return _import('supervision').Detections(
            xyxy=np.array([x['box'] for x in found], np.float32).reshape(-1, 4),
            confidence=np.array([x['score'] for x in found], np.float32),
            class_id=np.array([x['label'] for x in found], int),
            data=dict(class_name=np.array([x['class'] for x in found], str)),
        )

    def _areas(self, kind: str) -> list[dict[str, Any]]:
        rows = [
            {'class': self.names[one['label']], 'label': one['label'], 'area': one['area']} for one in self.areas(kind)
        ]
        return sorted(rows, key=lambda row: -row['area'])

    def _classes(self) -> list[tuple[int, Segment]]:
        """The classes of the semantic map."""
        counts = np.zeros(2**16, np.int64)
        found: dict[int, Region] = {}
        for number, rows in enumerate(self._there('semantic', self.semantic).strips()):
            counts += np.bincount(rows.ravel(), minlength=len(counts))
            for index, place in enumerate(ndimage.find_objects(rows.astype(np.int32) + 1)):
                if place is not None:
                    top, left = number * ROWS + place[0].start, place[1].start
                    here = Region(top, left, number * ROWS + place[0].stop, place[1].stop)
                    found[index] = found.get(index, here).joined_with(here)
        classes = sorted(label for label in found if label < len(self.names))
        return [(label, Segment(label, int(counts[label]), found[label])) for label in classes]

    def _there(self, kind: str, value: T | None) -> T:
        """A result, which has to be there."""
        if value is None:
            raise ValueError(f'the results are {" and ".join(self.kinds) or "none"}, no {kind}')
        return value

    def _instances(self) -> list[SceneObject]:
        return self._there('instances', self.results.instances)

    def _segments(self) -> list[Segment]:
        return self._there('panoptic', self.results.segments)

    def _visualizer(self) -> MaskDINOVisualizer:
        visualizer = MaskDINOVisualizer()
        visualizer.dataset_meta = dict(self.meta)
        return visualizer

    def _draw_instances(self, picture: np.ndarray) -> np.ndarray:
        found = self._instances()
        if len(found) > MANY:
            ids = np.zeros(picture.shape[:2], np.int32)
            for number in range(len(found), 0, -1):  # the best on top
                mask, place = self._reduced(found[number - 1], picture.shape[:2])
                ids[place.slices][mask] = number
            return self._paint(picture, ids, np.array([len(self.names), *(one.label for one in found)]))
        scale = np.tile(np.array(picture.shape[1::-1]) / self.size[::-1], 2)
        instances = InstanceData(
            bboxes=torch.tensor(np.array([one.box for one in found]).reshape(-1, 4) * scale, dtype=torch.float32),
            labels=torch.tensor([one.label for one in found], dtype=torch.long),
            scores=torch.tensor([one.score for one in found]),
        )
        if found and found[0].counts is not None:
            masks = np.zeros((len(found), *picture.shape[:2]), bool)
            for whole, one in zip(masks, found, strict=True):
                mask, place = self._reduced(one, picture.shape[:2])
                whole[place.slices] = mask
            instances.masks = torch.from_numpy(masks)
        return self._visualizer().draw_instances(picture, instances)

    def _reduced(self, found: SceneObject, shape: tuple[int, int]) -> tuple[np.ndarray, Region]:
        """The mask of an object, or its region without one, in a picture of this shape, and its place there."""
        place = _scaled(found.region, self.size, shape)
        mask = found.mask()
        if mask is None:
            return np.ones(place.shape, bool), place
        return cv2.resize(mask.astype(np.uint8), place.shape[::-1], interpolation=cv2.INTER_AREA) > 0, place

    def _paint(self, picture: np.ndarray, ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Objects in the colours of their classes with white outlines; what is of no class stays as it is."""
        palette = self.meta.get('palette')
        colors = np.array([*get_palette('random' if palette is None else palette, len(self.names)), (0, 0, 0)], float)
        there = (labels < len(self.names))[ids]
        painted = np.where(there[..., None], 0.5 * picture + 0.5 * colors[labels[ids]], picture)
        edges = np.zeros(ids.shape, bool)
        edges[1:] |= ids[1:] != ids[:-1]
        edges[:, 1:] |= ids[:, 1:] != ids[:, :-1]
        painted[edges] = 255
        return painted.astype(np.uint8)


def _reserve(file: int, num_bytes: int, shape: tuple[int, int]) -> None:
    """Take the room of a map on the disk: writing to one whose disk has become full would end the process."""
    try:
        if hasattr(os, 'posix_fallocate'):
            os.posix_fallocate(file, 0, num_bytes)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # others: the file system cannot do it
            raise DataError(
                f'a map of {shape[1]} x {shape[0]} pixels needs {num_bytes / 1e6:.0f} MB in the folder '
                f'{tempfile.gettempdir()} ({error.strerror}); TMPDIR names another one'
            ) from error


def predict_scene(
    predictor: Predictor,
    image: Source,
    name: str,
    batch_size: int = 1,
    on_tile: Callable[[int, int], None] | None = None,
) -> ScenePrediction:
    """Predict for one image in tiles.

    Args:
        predictor: With `tiles` and `overlap`.
        image: As of `Predictor`.
        name: Of the image.
        batch_size: Tiles per forward pass.
        on_tile: Called after each pass with the number of tiles so far and of all.

    Raises:
        DataError: The image cannot be read, or the model does not take tiles of this size.
        TypeError: It is of a kind that stands for no image.
    """
    start = time.perf_counter()
    windows = open_windows(image, name, predictor.loader, predictor.limits, predictor.remarks)
    if predictor.tiles is None:
        raise ValueError('the predictor has no tiles: Predictor(..., tiles=1024)')
    grid = TileGrid(windows.size, predictor.tiles, predictor.overlap)
    kinds, num_classes = predictor.kinds, len(predictor.dataset_meta['classes'])
    panoptic = MapFile(grid.size, np.int32) if 'panoptic' in kinds else None
    semantic = MapFile(grid.size, np.uint8 if num_classes <= 255 else np.uint16) if 'semantic' in kinds else None
    maps = [one for one in (panoptic, semantic) if one]

    def release() -> None:
        for one in maps:
            one.release()

    num_things = predictor.num_things
    merger = SceneMerger(
        grid,
        num_classes if num_things is None else num_things,
        num_classes,
        None if panoptic is None else panoptic.array,
        None if semantic is None else semantic.array,
        on_strip=release,
    )
    scale = min(1.0, PICTURE_SIDE / max(grid.size))
    picture = np.zeros((*(max(1, round(length * scale)) for length in grid.size), 3), np.uint8)
    done = 0
    for tiles in _in_parts(grid.tiles, batch_size):
        for tile, sample in zip(tiles, _predict_tiles(predictor, windows, tiles, picture, name), strict=True):
            merger.add(tile, sample)
        done += len(tiles)
        release()
        if on_tile:
            on_tile(done, len(grid))
    results, meta, seconds = merger.finish(), predictor.dataset_meta, time.perf_counter() - start
    return ScenePrediction(
        name, picture, BaseDataElement(), grid.size, meta, num_things, seconds, results, panoptic, semantic
    )


def _predict_tiles(
    predictor: Predictor, windows: Windows, tiles: Sequence[Tile], picture: np.ndarray, name: str
) -> list[BaseDataElement]:
    """The results of some tiles; draws what they show into the picture of the scene."""
    parts = [windows.read(tile.region) for tile in tiles]
    for tile, part in zip(tiles, parts, strict=True):
        own = np.ascontiguousarray(part[tile.own.within(tile.region)])
        place = _scaled(tile.own, windows.size, picture.shape[:2])
        picture[place.slices] = cv2.resize(own, place.shape[::-1], interpolation=cv2.INTER_AREA)
    names = [f'{name}, tile {tile.index + 1}' for tile in tiles]
    predictions = predictor.predict_arrays(list(zip(names, parts, strict=True)))
    for tile, prediction in zip(tiles, predictions, strict=True):
        if prediction.image.shape[:2] != tile.region.shape:
            height, width = tile.region.shape
            raise DataError(
                f'{name}: tiles of {width} x {height} pixels are larger than the model is given (--reduce-above, '
                '--max-input-megapixels, Limits); use smaller --tiles, or raise the limit'
            )
    return [prediction.sample for prediction in predictions]


def _text_of(rle: dict | None) -> dict[str, Any] | None:
    """A run-length code as JSON can hold it."""
    return rle and dict(size=list(rle['size']), counts=rle['counts'].decode('ascii'))


def _in_parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _scaled(region: Region, size: tuple[int, int], shape: tuple[int, int]) -> Region:
    """A region of a scene of this size in a picture of this shape, at least a pixel; neighbours stay neighbours."""
    ends = []
    for first, last, old, new in zip(region[:2], region[2:], size, shape, strict=True):
        start = min(round(first * new / old), new - 1)
        ends.append((start, max(start + 1, round(last * new / old))))
    return Region(ends[0][0], ends[1][0], ends[0][1], ends[1][1])


def write_png(path: Path, size: tuple[int, int], strips: Iterable[np.ndarray]) -> None:
    """Write a PNG whose pixels come in strips of rows, without holding it.

    Args:
        path: The file.
        size: (height, width).
        strips: (rows, width) uint8 or uint16, or (rows, width, 3) uint8, RGB; from the top.
    """
    pack = zlib.compressobj(6)
    with path.open('wb') as file:

        def chunk(kind: bytes, content: bytes) -> None:
            file.write(len(content).to_bytes(4, 'big') + kind + content)
            file.write(zlib.crc32(kind + content).to_bytes(4, 'big'))

        file.write(b'\x89PNG\r\n\x1a\n')
        started = False
        for rows in strips:
            if not started:
                depth, color = 8 * rows.dtype.itemsize, 2 if rows.ndim == 3 else 0
                chunk(b'IHDR', b''.join(n.to_bytes(4, 'big') for n in size[::-1]) + bytes([depth, color, 0, 0, 0]))
                started = True
            content = np.ascontiguousarray(rows, rows.dtype.newbyteorder('>')).view(np.uint8).reshape(len(rows), -1)
            # Before each row stands how it is filtered: not at all.
            packed = pack.compress(np.pad(content, ((0, 0), (1, 0))).tobytes())
            if packed:
                chunk(b'IDAT', packed)
        chunk(b'IDAT', pack.flush())
        chunk(b'IEND', b'')
