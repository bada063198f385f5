"""Panoptic annotations and results in COCO's format: one json, and one PNG per image."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmmaskdino.datasets import coco_checks
from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.panoptic_png import MAX_SEGMENT_ID, ids_to_rgb, read_panoptic_png
from mmmaskdino.evaluation.panoptic_quality import PanopticImage
from mmmaskdino.output_files import OutputFolder, result_names


class PanopticFiles:
    """Annotations or results, read image by image.

    Args:
        ann_file: The json.
        folder: Folder of the PNGs.
        category_labels: Class index of each category id; a segment of another category is an error.
        backend_args: Arguments of mmengine's file backend.

    Raises:
        DataError: The json is missing, unreadable or lacks a key, or lists an image twice.
    """

    def __init__(
        self, ann_file: str, folder: str, category_labels: dict[int, int], backend_args: dict[str, Any] | None = None
    ) -> None:
        self.ann_file = ann_file
        self.folder = folder
        self.backend_args = backend_args
        self.category_labels = category_labels
        self.annotations: dict[int, dict] = {}
        for annotation in read_json(ann_file, ['annotations'], backend_args)['annotations']:
            image_id = _field(annotation, 'image_id', f'{ann_file}: an annotation')
            if image_id in self.annotations:
                raise DataError(f'{ann_file}: image {image_id} has two annotations; a panoptic file has one per image')
            self.annotations[image_id] = annotation

    def load(self, image_id: int) -> PanopticImage:
        """Read the segments of one image.

        Raises:
            DataError: The image has no annotation, its PNG is missing or unreadable, or a segment is not valid.
        """
        if image_id not in self.annotations:
            raise DataError(f'{self.ann_file}: no annotation for the image with id {image_id}')
        annotation = self.annotations[image_id]
        where = f'{self.ann_file}: image {image_id}'
        path = os.path.join(self.folder, _field(annotation, 'file_name', where))
        segments = _field(annotation, 'segments_info', where)
        ids = [_field(segment, 'id', where) for segment in segments]
        if len(set(ids)) < len(ids) or not all(isinstance(i, int) and 0 < i <= MAX_SEGMENT_ID for i in ids):
            raise DataError(f'{where}: expected distinct segment ids in [1, {MAX_SEGMENT_ID}], got {ids}')
        return PanopticImage(
            id_map=read_panoptic_png(path, self.backend_args),
            ids=np.array(ids, np.int64),
            labels=np.array([self._label(segment, where) for segment in segments], np.int64),
            is_crowd=np.array([segment.get('iscrowd', 0) for segment in segments], bool),
            source=path,
        )

    def _label(self, segment: dict, where: str) -> int:
        category_id = _field(segment, 'category_id', f'{where}, segment {segment["id"]}')
        if category_id not in self.category_labels:
            raise DataError(f'{where}, segment {segment["id"]}: category {category_id} is not among the classes')
        return self.category_labels[category_id]


class PanopticWriter:
    """Writes results in COCO's format: ``{outfile_prefix}.panoptic.json`` and PNGs in ``{outfile_prefix}.panoptic``.

    Args:
        outfile_prefix: First part of the paths.
        ann_file: Json with the 'images', whose file names the PNGs take over, with their subfolders.
        category_ids: Category id of each class index.
        backend_args: Arguments of mmengine's file backend, for ``ann_file``.

    Raises:
        DataError: The json is missing, unreadable or lacks a key, or the PNGs of two images would be one file.
    """

    def __init__(
        self, outfile_prefix: str, ann_file: str, category_ids: list[int], backend_args: dict[str, Any] | None = None
    ) -> None:
        self.folder = OutputFolder(Path(f'{outfile_prefix}.panoptic'))
        self.category_ids = category_ids
        self.ann_file = ann_file
        images = read_json(ann_file, ['images'], backend_args)['images']
        names = result_names([_field(image, 'file_name', f'{ann_file}: an image') for image in images], ann_file)
        ids = [_field(image, 'id', f'{ann_file}: an image') for image in images]
        self.file_names = {image_id: f'{name}.png' for image_id, name in zip(ids, names, strict=True)}

    def write(self, image_id: int, image: PanopticImage) -> dict:
        """Write the PNG of one image.

        Returns:
            The image's entry in the json.

        Raises:
            DataError: The image is not listed in ``ann_file``.
            ValueError: A link leads out of the folder.
        """
        if image_id not in self.file_names:
            raise DataError(f'{self.ann_file}: no image has the id {image_id}')
        file_name = self.file_names[image_id]
        Image.fromarray(ids_to_rgb(image.id_map)).save(self.folder.file(file_name))
        segments = [
            dict(id=int(i), category_id=self.category_ids[label])
            for i, label in zip(image.ids, image.labels, strict=True)
        ]
        return dict(image_id=image_id, file_name=file_name, segments_info=segments)

    def write_json(self, annotations: list[dict]) -> None:
        """Write the json with the entries of all images."""
        path = self.folder.path
        path.with_name(f'{path.name}.json').write_text(json.dumps(dict(annotations=annotations)))


def read_categories(ann_file: str, backend_args: dict[str, Any] | None = None) -> list[dict]:
    """Read the categories of a panoptic json.

    Returns:
        One dict per category, in the order of the file, with 'id', 'name' and 'isthing'.

    Raises:
        DataError: The json is missing, unreadable or lacks a key, or an id or a name occurs twice.
    """
    categories = read_json(ann_file, ['categories'], backend_args)['categories']
    for key in ('id', 'name', 'isthing'):
        values = [_field(category, key, f'{ann_file}: a category') for category in categories]
        if key != 'isthing' and len(set(values)) < len(values):
            raise DataError(f'{ann_file}: two categories have the same {key}, among {sorted(values)}')
    return categories


def categories_of(classes: Sequence[str], ann_file: str, backend_args: dict[str, Any] | None = None) -> list[dict]:
    """The categories of a panoptic json that the classes of a dataset are, in the order of the classes.

    Raises:
        DataError: A class is no category; see also :func:`read_categories`.
    """
    by_name = {category['name']: category for category in read_categories(ann_file, backend_args)}
    missing = [name for name in classes if name not in by_name]
    if missing:
        raise DataError(f"{ann_file}: the dataset's classes {missing} are not among the categories")
    return [by_name[name] for name in classes]


def read_json(path: str, keys: list[str], backend_args: dict[str, Any] | None = None) -> dict:
    """Read a json that must hold an object with the given keys.

    Raises:
        DataError: The file is missing or unreadable, or a key is not there.
    """
    data = coco_checks.read_json(path, backend_args)
    for key in keys:
        _field(data, key, path)
    lists = [data.get(key) for key in ('images', 'annotations', 'categories')]
    if all(isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries) for entries in lists):
        return coco_checks.tidy(data, AnnotationReport(path))  # the dataset has given its warnings
    return data


def _field(data: Any, key: str, where: str) -> Any:
    if not isinstance(data, dict) or key not in data:
        raise DataError(f"{where}: expected the key '{key}' of COCO's panoptic format, which is not there")
    return data[key]
