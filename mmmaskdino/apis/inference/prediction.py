"""The results for one image, in the forms that people use."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmengine.structures import BaseDataElement
from PIL import Image
from pycocotools import mask as coco_mask

from mmmaskdino.datasets.panoptic_png import ids_to_rgb
from mmmaskdino.datasets.predicted import save_drawing
from mmmaskdino.plain_text import printable
from mmmaskdino.results import label_map, one_mask

from .drawing import FIELDS, draw_result

if TYPE_CHECKING:
    import pandas
    import supervision

NOTHING = '0 objects'
NOTEBOOK_SIDE = 1024  # pixels of a picture in a notebook


class Failure(NamedTuple):
    """An image without results."""

    name: str
    reason: str
    is_internal: bool = False
    """Whether something else than the image is at fault, such as a lack of memory."""


class Segments(NamedTuple):
    """The panoptic segments of one image."""

    ids: np.ndarray
    """(height, width) int32 of the original image: 1 for the first segment and so on, 0 where nothing is."""
    labels: list[int]
    """Class of each segment."""


@dataclass(eq=False)
class Prediction:
    """Results for one image: `print` says what was found, a notebook shows the picture.

    Attributes:
        name: Of the image: the path or address, or what was given beside the array.
        image: (h, w, 3) uint8, BGR: the image, or the reduced one if it was too large for `Limits`.
        sample: mmdet's or mmseg's data sample with `pred_instances`, `pred_panoptic_seg`, `pred_sem_seg`, in pixels of
            `image`; on the CPU.
        size: (height, width) of the original image, which all methods below refer to.
        meta: `classes` and, perhaps, `palette`.
        num_things: How many of the classes, the first ones, are things; None where the model does not tell.
        seconds: For reading the image and its share of the model's work.
    """

    name: str
    image: np.ndarray
    sample: BaseDataElement
    size: tuple[int, int]
    meta: Mapping[str, Any] = field(default_factory=dict)
    num_things: int | None = None
    seconds: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, by their labels."""
        return tuple(self.meta['classes'])

    @property
    def kinds(self) -> tuple[str, ...]:
        """The results that are there, some of 'panoptic', 'instances', 'semantic'."""
        return tuple(kind for kind, name in FIELDS.items() if name in self.sample)

    def __repr__(self) -> str:
        height, width = self.size
        return f'<Prediction {printable(self.name)}, {width} x {height}: {self.summary()}>'

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found."""
        return self.summary() == NOTHING

    def summary(self, kind: str | None = None) -> str:
        """What was found, in a few words: `2 dog, 1 cat, grass`.

        Args:
            kind: 'panoptic', 'instances' or 'semantic'; None for the first of these that is there.

        Returns:
            Objects with their number, then areas, the largest first; `0 objects` where there is nothing.

        Raises:
            ValueError: There is no such result.
        """
        kind = self._kind(kind)
        if kind == 'instances':
            labels, stuff = self.sample.pred_instances.labels.tolist(), []
        else:
            values, counts = np.unique(self._map(kind), return_counts=True)
            found = values[np.argsort(-counts, kind='stable')] % (INSTANCE_OFFSET if kind == 'panoptic' else 2**31)
            found = [int(label) for label in found if label < len(self.names)]
            things = 0 if kind == 'semantic' else len(self.names) if self.num_things is None else self.num_things
            labels, stuff = [x for x in found if x < things], [x for x in found if x >= things]
        objects = [f'{count} {self.names[label]}' for label, count in Counter(labels).most_common()]
        parts = [*objects, *dict.fromkeys(self.names[label] for label in stuff)]
        return printable(', '.join(parts)) or NOTHING

    def objects(self, masks: bool = True) -> Iterator[dict[str, Any]]:
        """The instances, best first.

        Args:
            masks: Whether to give the masks of models that have them.

        Yields:
            dict: 'class', 'label', 'score', 'box' (x1, y1, x2, y2 in pixels), 'area' (pixels of the mask or, without
            one, of the box) and 'segmentation' (COCO's RLE).

        Raises:
            ValueError: There are no instances among the results.
        """
        self._kind('instances')
        instances = self.sample.pred_instances
        height, width = self.size
        scale = np.array([width, height] * 2) / np.array([*self.image.shape[1::-1]] * 2)
        for index in range(len(instances)):
            label = int(instances.labels[index])
            x1, y1, x2, y2 = (instances.bboxes[index].double().numpy() * scale).tolist()
            entry = {
                'class': self.names[label],
                'label': label,
                'score': float(instances.scores[index]),
                'box': [x1, y1, x2, y2],
                'area': (x2 - x1) * (y2 - y1),
            }
            if masks and 'masks' in instances:
                mask = enlarge(one_mask(instances.masks[index]).astype(np.uint8), self.size)
                rle = coco_mask.encode(np.asfortranarray(mask))
                entry['area'] = int(coco_mask.area(rle))
                entry['segmentation'] = dict(size=rle['size'], counts=rle['counts'].decode('ascii'))
            yield entry

    def segments(self) -> Segments:
        """The panoptic segments.

        Raises:
            ValueError: There are none among the results.
        """
        values = self._map('panoptic')
        ids = np.unique(values[values % INSTANCE_OFFSET < len(self.names)])
        # Segments are numbered from 1: the value of a segment of class 0 may be 0, which is nothing.
        numbers = np.where(values % INSTANCE_OFFSET < len(self.names), np.searchsorted(ids, values) + 1, 0)
        return Segments(enlarge(numbers.astype(np.int32), self.size), (ids % INSTANCE_OFFSET).tolist())

    def labels(self) -> np.ndarray:
        """The semantic map, (height, width) int32 of class labels.

        Raises:
            ValueError: There is none among the results.
        """
        return enlarge(self._map('semantic').astype(np.int32), self.size)

    def areas(self, kind: str, masks: bool = False) -> Iterator[dict[str, Any]]:
        """The panoptic segments by their number, or the classes of the semantic map that occur.

        Args:
            kind: 'panoptic' or 'semantic'.
            masks: Whether to give their masks.

        Yields:
            dict: 'label', 'bbox' (x, y, width, height), 'area' (pixels) and, if wanted, 'segmentation' (COCO's RLE).

        Raises:
            ValueError: There is no such result.
        """
        if kind == 'panoptic':
            values, labels = self.segments()
            numbered = list(enumerate(labels, start=1))
        else:
            values = self.labels()
            numbered = [(label, label) for label in np.unique(values).tolist() if label < len(self.names)]
        for value, label in numbered:
            yield dict(label=label, **_extent(values == value, masks))

    def save_segments(self, path: Path) -> None:
        """Write the ids of the panoptic segments as COCO's PNG.

        Args:
            path: The file.

        Raises:
            ValueError: There are no panoptic results.
        """
        Image.fromarray(ids_to_rgb(self.segments().ids)).save(path)

    def save_labels(self, path: Path, dtype: type) -> None:
        """Write the semantic map as a PNG of class labels.

        Args:
            path: The file.
            dtype: np.uint8 or np.uint16.

        Raises:
            ValueError: There is no semantic result.
        """
        Image.fromarray(self.labels().astype(dtype)).save(path)

    def draw(self, kind: str | None = None, max_side: int = 2048) -> np.ndarray:
        """Draw results on the image.

        Args:
            kind: 'panoptic', 'instances' or 'semantic'; None for the first of these that is there.
            max_side: Longest side of the picture in pixels; a larger image is reduced.

        Returns:
            (h, w, 3) uint8, RGB.

        Raises:
            ValueError: There is no such result.
        """
        return draw_result(self.image[..., ::-1], self.sample, self.meta, kind, max_side)

    def save(self, path: str | Path, kind: str | None = None, max_side: int = 2048) -> Path:
        """Write a picture or, for a name that ends with .json, the results.

        Args:
            path: File to write; its folder is made.
            kind: As of :meth:`draw`; a JSON file has all results.
            max_side: As of :meth:`draw`.

        Returns:
            The path.

        Raises:
            ValueError: There is no such result, or Pillow writes no files of this kind.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == '.json':
            path.write_text(self.to_json(), encoding='utf-8')
            return path
        picture = Image.fromarray(self.draw(kind, max_side))
        if path.suffix.lower() in ('.jpg', '.jpeg'):
            save_drawing(picture, path)
        else:
            picture.save(path)
        return path

    def show(self, kind: str | None = None, max_side: int = 2048) -> None:
        """Open the picture in the viewer of the system. Arguments as of :meth:`draw`."""
        Image.fromarray(self.draw(kind, max_side)).show(self.name)

    def to_json(self, masks: bool = True) -> str:
        """All results as JSON: 'name', 'width', 'height', and lists of what there is.

        Args:
            masks: Whether instances have their masks.

        Returns:
            'instances': as of :meth:`objects`; 'segments': 'class', 'label' and 'area'; 'semantic': 'class', 'label'
            and 'area' (pixels) of the classes that occur.
        """
        height, width = self.size
        content: dict[str, Any] = dict(name=self.name, width=width, height=height)
        if 'instances' in self.kinds:
            content['instances'] = list(self.objects(masks))
        if 'panoptic' in self.kinds:
            content['segments'] = self._areas('panoptic')
        if 'semantic' in self.kinds:
            content['semantic'] = self._areas('semantic')
        return json.dumps(content)

    def to_pandas(self, kind: str | None = None) -> pandas.DataFrame:
        """A table of instances ('class', 'label', 'score', 'x1', 'y1', 'x2', 'y2', 'area') or areas.

        Args:
            kind: 'instances', 'panoptic' or 'semantic'; None for instances if there are any, or else the first of the
                others that is there.

        Returns:
            With the columns of :meth:`to_json`.

        Raises:
            ImportError: pandas is not installed.
            ValueError: There is no such result.
        """
        pandas = _import('pandas')
        kind = self._kind(kind or ('instances' if 'instances' in self.kinds else None))
        if kind != 'instances':
            return pandas.DataFrame(self._areas(kind), columns=['class', 'label', 'area'])
        columns = ['class', 'label', 'score', 'x1', 'y1', 'x2', 'y2', 'area']
        rows = [[x['class'], x['label'], x['score'], *x['box'], x['area']] for x in self.objects()]
        return pandas.DataFrame(rows, columns=columns)

    def to_supervision(self) -> supervision.Detections:
        """The instances as `supervision.Detections`, with masks where the model has them and 'class_name' in `data`.

        Raises:
            ImportError: supervision is not installed.
            ValueError: There are no instances among the results.
        """
        supervision = _import('supervision')
        found = list(self.objects(masks=False))
        masks = self.sample.pred_instances.get('masks')
        if masks is not None:
            shape = (len(found), *self.size)
            masks = np.array([enlarge(one_mask(x).astype(np.uint8), self.size) for x in masks], bool).reshape(shape)
        return supervision.Detections(
            xyxy=np.array([x['box'] for x in found], np.float32).reshape(-1, 4),
            mask=masks,
            confidence=np.array([x['score'] for x in found], np.float32),
            class_id=np.array([x['label'] for x in found], int),
            data=dict(class_name=np.array([x['class'] for x in found], str)),
        )

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        Image.fromarray(self.draw(max_side=NOTEBOOK_SIDE)).save(file, 'png')
        return file.getvalue()

    def _kind(self, kind: str | None) -> str:
        """A kind of results that is there."""
        if kind is None and self.kinds:
            return self.kinds[0]
        if kind not in self.kinds:
            raise ValueError(f'the results are {" and ".join(self.kinds) or "none"}, no {kind}')
        return kind

    def _map(self, kind: str) -> np.ndarray:
        """(h, w) of labels, of panoptic results with the number of the instance."""
        return label_map(self.sample.get(FIELDS[self._kind(kind)]))

    def _areas(self, kind: str) -> list[dict[str, Any]]:
        """Class, label and area of the segments or classes, the largest first."""
        if kind == 'panoptic':
            segments = self.segments()
            ids, counts = np.unique(segments.ids[segments.ids > 0], return_counts=True)
            labels = [segments.labels[number - 1] for number in ids]
        else:
            labels, counts = np.unique(self.labels(), return_counts=True)
        rows = [
            {'class': self.names[label], 'label': int(label), 'area': int(count)}
            for label, count in zip(labels, counts, strict=True)
            if label < len(self.names)
        ]
        return sorted(rows, key=lambda row: -row['area'])


def enlarge(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels (h, w) at another size (height, width); the same array where it has that already."""
    if labels.shape == tuple(size):
        return labels
    return cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)


def _extent(mask: np.ndarray, with_mask: bool) -> dict[str, Any]:
    """Area, box (x, y, width, height) and, if wanted, RLE of a mask (h, w) that is not empty."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    extent: dict[str, Any] = dict(bbox=coco_mask.toBbox(rle).tolist(), area=int(coco_mask.area(rle)))
    if with_mask:
        extent['segmentation'] = dict(size=rle['size'], counts=rle['counts'].decode('ascii'))
    return extent


def _import(package: str) -> Any:
    try:
        return __import__(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ImportError(f'{package} is not installed: pip install "mmmaskdino[{package}]"') from error
