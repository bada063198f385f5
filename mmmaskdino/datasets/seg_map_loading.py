"""Reading label maps of semantic segmentation so that a wrong file is an error that names it."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS
from PIL import Image, UnidentifiedImageError

from mmmaskdino.datasets.files import DataError, check_num_pixels, read_file

IGNORED = 255
_BAD = -1  # what the table has for labels that are no class
_SHOWN = 10  # labels that a message lists


@TRANSFORMS.register_module()
class LoadCheckedSegMap(LoadAnnotations):
    """Load a label map like mmseg's `LoadAnnotations`, but refuse what that would pass on damaged.

    mmseg cuts labels to 8 bits, takes the three channels of an RGB file for a map, and lets labels through that are no
    class.

    Required Keys:

    - seg_map_path, reduce_zero_label, label_map, num_classes, as :class:`CheckedSegDatasetMixin` gives them
    - ori_shape (optional; (h, w) of the image as it was loaded: it may have been resized since)

    Added Keys:

    - gt_seg_map: (h, w) uint8, class indices, 255 where nothing is labelled

    Takes the arguments of mmseg's `LoadAnnotations`.
    """

    def _load_seg_map(self, results: dict) -> None:
        path = results['seg_map_path']
        labels = read_label_map(read_file(path, self.backend_args), path)
        shape = results.get('ori_shape', labels.shape)[:2]
        if labels.shape != tuple(shape):
            raise DataError(
                f'{path}: the label map has {labels.shape[1]} x {labels.shape[0]} pixels (width x height), its image '
                f'{results.get("img_path")} has {shape[1]} x {shape[0]}; both must be of one size'
            )
        results['gt_seg_map'] = map_labels(labels, label_table(results), path)
        results['seg_fields'].append('gt_seg_map')


def read_label_map(content: bytes, path: str) -> np.ndarray:
    """Decode a label map.

    Args:
        content: The file.
        path: Its name, for messages.

    Returns:
        (h, w) uint8; of palette files the indices.

    Raises:
        DataError: The file is damaged, too large, or has not one channel of 8 bits.
    """
    check_num_pixels(content, path)
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            mode, labels = image.mode, np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f'{path}: the label map cannot be read ({error}); replace it') from error
    if mode not in ('L', 'P'):
        raise DataError(
            f'{path}: a label map has one channel of 8 bits (mode L or P) with class indices, and {IGNORED} where '
            f'nothing is labelled; this file has mode {mode} with the values {_some_values(labels)}. '
            'Convert it, for example with a table from colours to classes'
        )
    return labels


def label_table(results: dict) -> np.ndarray:
    """Which class each of the 256 labels of a file stands for.

    Args:
        results: ``num_classes`` of the dataset; ``reduce_zero_label``: whether label 0 is no class and the classes
            begin at 1; ``label_map``: from the classes of the files to the wanted ones, if these are not all.

    Returns:
        (256,) int64: a class, 255 where the label is ignored, -1 where it is no label.
    """
    label_map = results.get('label_map')
    classes = list(range(results['num_classes']))
    if label_map:
        classes = [label_map[old] for old in range(len(label_map))]
    if results['reduce_zero_label']:
        classes = [IGNORED, *classes]
    table = np.full(256, _BAD)
    table[: len(classes)] = classes
    table[IGNORED] = IGNORED
    return table


def map_labels(labels: np.ndarray, table: np.ndarray, path: str) -> np.ndarray:
    """Classes (h, w) uint8 from labels (h, w) uint8.

    Raises:
        DataError: A label is no class.
    """
    found = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    bad = found[table[found] == _BAD]
    if len(bad):
        valid = np.flatnonzero(table[:IGNORED] != _BAD)
        raise DataError(
            f'{path}: labels {_some_values(bad)} are no classes; expected {valid[0]} to {valid[-1]}, and {IGNORED} '
            'where nothing is labelled (classes of the dataset, reduce_zero_label)'
        )
    return table.astype(np.uint8)[labels]


def with_checked_seg_map_loader(pipeline: Sequence[dict | Callable]) -> list[dict | Callable]:
    """Put :class:`LoadCheckedSegMap` in the place of mmseg's loader, with the same arguments.

    Configs keep naming `LoadAnnotations`, because mmseg's inference finds the loader by that name.

    Args:
        pipeline: Transform configs or built transforms.

    Returns:
        A new list; the given configs are unchanged.
    """
    return [
        {**transform, 'type': LoadCheckedSegMap} if isinstance(transform, dict) and _is_loader(transform) else transform
        for transform in pipeline
    ]


def _is_loader(transform: dict) -> bool:
    name: Any = transform['type']
    return name is LoadAnnotations or (isinstance(name, str) and name.split('.')[-1] == 'LoadAnnotations')


def _some_values(values: np.ndarray) -> str:
    if values.ndim == 3:  # colours
        unique = [tuple(colour) for colour in np.unique(values.reshape(-1, values.shape[-1]), axis=0).tolist()]
    else:
        unique = np.unique(values).tolist()
    dots = f', ... ({len(unique)} in all)' if len(unique) > _SHOWN else ''
    return ', '.join(map(str, unique[:_SHOWN])) + dots
