"""The results of one image as plain values, and the files that hold those of many."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mmmaskdino.datasets.predicted import IMAGES_IN
from mmmaskdino.engine.checkpoints import PARTIAL_SUFFIX, complete_file
from mmmaskdino.output_files import OutputFolder

from .prediction import Prediction

if TYPE_CHECKING:
    import pyarrow

FORMATS = ('coco', 'parquet')
PARQUET = 'results.parquet'
ROWS_AT_ONCE = 256  # of a Parquet file, in memory
Record = dict[str, Any]


def record_of(prediction: Prediction, file_name: str, kinds: Iterable[str], masks: Collection[str]) -> Record:
    """The results of one image; JSON can hold them.

    Args:
        prediction: The results.
        file_name: What the image is called in it.
        kinds: Some of 'instances', 'panoptic', 'semantic'.
        masks: Of these kinds, those whose objects have their masks.

    Returns:
        'file_name', 'height', 'width', and by kind a list of objects with 'category_id' (of the classes, from 1),
        'category', 'bbox' (x, y, width, height in pixels), 'area' (pixels), 'segmentation' (COCO's RLE), of instances
        'score', of panoptic segments 'id' (from 1).

    Raises:
        ValueError: There is no such result.
    """
    height, width = prediction.size
    parts: dict[str, Callable[[], list[Record]]] = dict(
        instances=lambda: list(_instances(prediction, 'instances' in masks)),
        panoptic=lambda: _segments(prediction, 'panoptic' in masks),
        semantic=lambda: _classes(prediction, 'semantic' in masks),
    )
    return dict(file_name=file_name, height=height, width=width, **{kind: parts[kind]() for kind in kinds})


def _instances(prediction: Prediction, masks: bool) -> Iterator[Record]:
    for found in prediction.objects():
        x1, y1, x2, y2 = found['box']
        entry = dict(
            category_id=found['label'] + 1,
            category=found['class'],
            bbox=[x1, y1, x2 - x1, y2 - y1],
            area=found['area'],
            score=found['score'],
        )
        if masks and 'segmentation' in found:
            entry['segmentation'] = found['segmentation']
        yield entry


def _segments(prediction: Prediction, masks: bool) -> list[Record]:
    return [
        dict(id=number, **_area(prediction, found))
        for number, found in enumerate(prediction.areas('panoptic', masks), start=1)
    ]


def _classes(prediction: Prediction, masks: bool) -> list[Record]:
    return [_area(prediction, found) for found in prediction.areas('semantic', masks)]


def _area(prediction: Prediction, found: Record) -> Record:
    label = found.pop('label')
    return dict(category_id=label + 1, category=prediction.names[label], **found)


class CocoFile:
    """`instances.json` or `panoptic.json`, written on the way; under another name until it is complete.

    Args:
        folder: Where to write.
        kind: 'instances' or 'panoptic'.
        classes: Class names.
        num_things: How many classes, the first ones, are things; of panoptic files.
        images: Folder of the images, which the file names then; None where they are in none.
    """

    def __init__(
        self, folder: OutputFolder, kind: str, classes: Sequence[str], num_things: int = 0, images: Path | None = None
    ) -> None:
        self._kind, self._folder = kind, folder
        self._info = {} if images is None else {IMAGES_IN: os.path.relpath(images.resolve(), folder.path.resolve())}
        self._categories = [dict(id=label + 1, name=name) for label, name in enumerate(classes)]
        if kind == 'panoptic':
            for label, category in enumerate(self._categories):
                category['isthing'] = int(label < num_things)

    def write(self, results: Iterable[tuple[str, Record]]) -> None:
        """Write the file.

        Args:
            results: The name of the result files of each image, and its results.
        """
        others = dict(info=self._info, categories=self._categories)
        path = self._folder.file(f'{self._kind}.json')
        with _completed(path) as target, _open_beside(path) as annotations:
            target.write('{"images": [\n')
            num_annotations = 0
            for number, (name, record) in enumerate(results, start=1):
                image = {key: record[key] for key in ('file_name', 'height', 'width')}
                target.write(',\n' * (number > 1) + json.dumps(dict(id=number, **image)))
                for entry in self._entries(number, name, record):
                    num_annotations += 1
                    if self._kind == 'instances':
                        entry = dict(id=num_annotations, **entry)
                    annotations.write(',\n' * (num_annotations > 1) + json.dumps(entry))
            target.write('\n],\n"annotations": [\n')
            annotations.seek(0)
            while text := annotations.read(1 << 20):
                target.write(text)
            target.write(f'\n],\n{json.dumps(others)[1:]}')

    def _entries(self, number: int, name: str, record: Record) -> Iterator[Record]:
        if self._kind == 'panoptic':
            segments = [dict(_without_name(segment), iscrowd=0) for segment in record['panoptic']]
            yield dict(image_id=number, file_name=f'{name}.png', segments_info=segments)
            return
        for instance in record['instances']:
            yield dict(image_id=number, **_without_name(instance), iscrowd=0)


def _without_name(entry: Record) -> Record:
    return {key: value for key, value in entry.items() if key != 'category'}


def write_parquet(folder: OutputFolder, kinds: Sequence[str], results: Iterable[tuple[str, Record]]) -> None:
    """Write `results.parquet`: a row for each image, failed ones with the reason in `error`.

    Args:
        folder: Where to write.
        kinds: Some of 'instances', 'panoptic', 'semantic'.
        results: The name of each image's results, and the results, or 'file_name' and 'error'.
    """
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    schema = parquet_schema(kinds)
    path = folder.file(PARQUET)
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    with ParquetWriter(partial, schema, compression='zstd') as writer:
        rows: list[Record] = []
        for _, record in results:
            rows.append(record)
            if len(rows) == ROWS_AT_ONCE:
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pyarrow.Table.from_pylist(rows, schema))
    complete_file(partial, path)


def parquet_schema(kinds: Iterable[str]) -> pyarrow.Schema:
    """Columns of a Parquet file with the results of images, a row each.

    Args:
        kinds: Some of 'instances', 'panoptic', 'semantic': a column each, of lists of objects.

    Returns:
        The columns: 'file_name', 'height', 'width', those of the kinds, 'error' (why there are no results).
    """
    import pyarrow as pa

    rle = pa.struct([('size', pa.list_(pa.int32(), 2)), ('counts', pa.string())])
    common = [
        *(('category_id', pa.int32()), ('category', pa.string()), ('bbox', pa.list_(pa.float64(), 4))),
        *(('area', pa.float64()), ('segmentation', rle)),
    ]
    first = dict(instances=[('score', pa.float64())], panoptic=[('id', pa.int32())], semantic=[])
    lists = [(kind, pa.list_(pa.struct(first[kind] + common))) for kind in kinds]
    return pa.schema(
        [('file_name', pa.string()), ('height', pa.int32()), ('width', pa.int32()), *lists, ('error', pa.string())]
    )


@contextmanager
def _completed(path: Path) -> Iterator[TextIO]:
    """A file that gets its name when it is complete."""
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    with partial.open('w', encoding='utf-8') as file:
        yield file
    complete_file(partial, path)


@contextmanager
def _open_beside(path: Path) -> Iterator[TextIO]:
    """A file that is gone afterwards."""
    beside = path.with_name(f'{path.name}.annotations{PARTIAL_SUFFIX}')
    try:
        with beside.open('w+', encoding='utf-8') as file:
            yield file
    finally:
        beside.unlink(missing_ok=True)
