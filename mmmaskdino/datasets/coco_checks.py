"""What COCO instance and panoptic files have in common: their lists, images and categories."""

from collections.abc import Sequence
from typing import Any

from mmmaskdino.datasets.annotation_report import AnnotationReport

MIN_IMAGE_SIDE = 2
IMAGE_KEYS = ('id', 'file_name', 'height', 'width')


def check_lists(content: Any, report: AnnotationReport, annotations_optional: bool) -> None:
    """Check that an annotation file holds the three lists of the COCO format, and any image.

    Args:
        content: The parsed json file.
        report: Collects the problems.
        annotations_optional: Whether the file may have no annotations, as the files of test sets.

    Raises:
        DataError: A list is missing or there is no image; without them nothing else can be checked.
    """
    if not isinstance(content, dict):
        report.error(f"expected a COCO json object with 'images', 'annotations', 'categories', got a {type(content)}")
        report.raise_errors()
    keys = ['images', 'categories']
    if 'annotations' in content or not annotations_optional:
        keys.append('annotations')
    else:
        report.warn("no key 'annotations': predictions can be written, not evaluated", 'whole file')
    for key in keys:
        if key not in content:
            report.error(f'no key {key!r}: expected the COCO format, got the keys {sorted(content)}')
        elif not isinstance(content[key], list) or not all(isinstance(entry, dict) for entry in content[key]):
            report.error(f'{key!r} must be a list of objects')
    if content.get('images') == []:
        report.error("the dataset is empty: 'images' lists no image")
    report.raise_errors()


def index_images(images: list[dict], report: AnnotationReport) -> dict[Any, dict | None]:
    """Check the image entries and index them.

    Args:
        images: Entries with `id`, `file_name`, `height` and `width` in pixels.
        report: Collects the problems.

    Returns:
        The entry of each id; None for a faulty entry, whose annotations need no errors of their own.
    """
    index: dict[Any, dict | None] = {}
    for position, image in enumerate(images):
        place = f'images[{position}] (id {image.get("id")}, {image.get("file_name")})'
        fault = _find_image_fault(image)
        if fault is not None:
            report.image_error(f'{place}: {fault}', [image.get('id')])
        if image.get('id') in index:
            report.image_error(f'{place}: another image has the same id; give each image its own', [image['id']])
        if 'id' in image:
            index[image['id']] = image if fault is None else None
    return index


def _find_image_fault(image: dict) -> str | None:
    missing = [key for key in IMAGE_KEYS if key not in image]
    if missing:
        return f'the key(s) {missing} are missing'
    height, width = image['height'], image['width']
    if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
        return f'height and width must be positive whole numbers, got {height!r} and {width!r}'
    if min(height, width) < MIN_IMAGE_SIDE:
        return (
            f'an image of {width} x {height} pixels cannot be segmented (at least {MIN_IMAGE_SIDE} x '
            f'{MIN_IMAGE_SIDE} are needed); remove its entry and its annotations'
        )
    return None


def check_categories(
    categories: list[dict], classes: Sequence[str], report: AnnotationReport, any_order: bool = False
) -> list[int]:
    """Check the categories against the classes of the dataset's metainfo.

    Labels are positions in `classes`, while mmdet's datasets and metrics take them from the order of the categories in
    the file; where the two differ, every label would silently mean another class.

    Args:
        categories: Entries with `id` and `name`.
        classes: Class names of the dataset's metainfo; a subset of the file's.
        report: Collects the problems.
        any_order: Whether everything that reads the labels finds the categories by name.

    Returns:
        The category ids of the classes, in their order.

    Raises:
        DataError: The classes cannot be mapped to the categories; annotations could not be checked.
    """
    num_errors_before = report.num_errors
    if isinstance(classes, str):
        report.error(f'metainfo.classes must be a tuple of names, got the text {classes!r}; write ({classes!r},)')
        report.raise_errors()
    for key in ('id', 'name'):
        values = [category.get(key) for category in categories]
        repeated = sorted({repr(value) for value in values if values.count(value) > 1})
        if None in values or repeated:
            report.error(f'every category needs its own {key!r}, got {values} (more than once: {repeated})')
    names = [category.get('name') for category in categories]
    missing = [name for name in classes if name not in names]
    listed = [category for category in categories if category.get('name') in set(classes)]
    if missing:
        report.error(
            f'metainfo.classes has {missing}, which are not among the categories of the file, {names}; '
            'set metainfo=dict(classes=(...)) of the dataset and the class count of the model to the categories'
        )
    elif not any_order and [category['name'] for category in listed] != list(classes):
        report.error(
            'metainfo.classes must be in the order of the categories in the file, '
            f'{[category["name"] for category in listed]}, got {list(classes)}'
        )
    if report.num_errors > num_errors_before:
        report.raise_errors()
    position = {name: label for label, name in enumerate(classes)}
    return [category['id'] for category in sorted(listed, key=lambda category: position[category['name']])]
