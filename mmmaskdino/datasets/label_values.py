"""Label maps of semantic segmentation, and which class each of their labels stands for; without mmseg."""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from mmmaskdino.datasets.files import DataError, check_num_pixels

IGNORED = 255
_BAD = -1  # what the table has for labels that are no class
_SHOWN = 10  # labels that a message lists


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


def _some_values(values: np.ndarray) -> str:
    if values.ndim == 3:  # colours
        unique = [tuple(colour) for colour in np.unique(values.reshape(-1, values.shape[-1]), axis=0).tolist()]
    else:
        unique = np.unique(values).tolist()
    dots = f', ... ({len(unique)} in all)' if len(unique) > _SHOWN else ''
    return ', '.join(map(str, unique[:_SHOWN])) + dots
