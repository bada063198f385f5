"""What COCO instance and panoptic files have in common: their lists, images and categories."""

import json
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

from mmmaskdino.datasets.annotation_report import AnnotationReport, as_json
from mmmaskdino.datasets.coco_values import is_id, other_form, read_number
from mmmaskdino.datasets.files import DataError, read_file
from mmmaskdino.datasets.names import describe_class_names, find_file_name_fault

MIN_IMAGE_SIDE = 2
IMAGE_KEYS = ('id', 'file_name', 'height', 'width')


def read_json(path: str, backend_args: dict[str, Any] | None = None) -> Any:
    """Parse a json file in UTF-8, UTF-16 or UTF-32, with a byte order mark or without.

    Args:
        path: File path or URI.
        backend_args: Arguments of mmengine's file backend; None means it is chosen by the path.

    Raises:
        DataError: It cannot be read, or is no json.
    """
    content = read_file(path, backend_args)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        fix = '; save it in UTF-8' if isinstance(error, UnicodeError) else ''
        raise DataError(f'{path}: not a valid json file ({error}){fix}') from error


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
        report.error(
            "expected a COCO json object with 'images', 'annotations', 'categories', got "
            f'a {type(content).__name__}: {as_json(content)}'
        )
        report.raise_errors()
    keys = ['images', 'categories']
    if 'annotations' in content or not annotations_optional:
        keys.append('annotations')
    else:
        report.warn("no key 'annotations': predictions can be written, not evaluated", 'whole file')
    for key in keys:
        if key not in content:
            report.error(f'no key {key!r}: expected the COCO format, got the keys {sorted(content)}')
        elif not isinstance(content[key], list):
            report.error(f'{key!r} must be a list of objects, got {as_json(content[key])}')
        elif wrong := [entry for entry in content[key] if not isinstance(entry, dict)]:
            report.error(f'{key!r} must be a list of objects, got {len(wrong)} that are none: {as_json(wrong[0])}')
    if content.get('images') == []:
        report.error("the dataset is empty: 'images' lists no image")
    report.raise_errors()


def tidy(content: dict, report: AnnotationReport) -> dict:
    """Put ids, sizes and categories into the form that everything that reads the file agrees on.

    Ids that are a number in one list and its text in another are taken for the same, sizes of images that are numbers
    in quotes for numbers, and entries of categories are left out that repeat another or have its name and no object;
    each with one warning.

    Args:
        content: The parsed file, with its lists; it is not changed.
        report: Collects the problems and warnings.

    Returns:
        The content with new lists.
    """
    content = {**content, 'images': [_tidy_image(image, report) for image in content['images']]}
    if 'annotations' in content:
        content['annotations'] = _match_ids(content['annotations'], 'image_id', content['images'], report)
        if any('segments_info' in annotation for annotation in content['annotations']):
            content['annotations'] = _match_segments(content['annotations'], content['categories'], report)
        else:
            content['annotations'] = _match_ids(content['annotations'], 'category_id', content['categories'], report)
    content['categories'] = _leave_out_repeated(content['categories'], count_categories(content), report)
    return content


def count_categories(content: dict) -> Counter:
    """Number of objects, or of segments of panoptic data, of each category id."""
    ids = (entry.get('category_id') for entry in iterate_objects(content))
    return Counter(category_id for category_id in ids if _is_hashable(category_id))


def iterate_objects(content: dict) -> Iterator[dict]:
    """The objects of an instance file, the segments of a panoptic one."""
    for annotation in content.get('annotations', []):
        segments = annotation.get('segments_info', [annotation])
        yield from (segment for segment in segments if isinstance(segment, dict)) if isinstance(segments, list) else ()


def _tidy_image(image: dict, report: AnnotationReport) -> dict:
    changes = {}
    for key in ('height', 'width'):
        number = read_number(image.get(key))
        if type(image.get(key)) is not int and number is not None and number == int(number):
            changes[key] = int(number)
            if isinstance(image[key], str):
                report.warn('images whose size is in quotes, taken as numbers', f'image {image.get("id")}')
    if 'file_name' not in image and isinstance(image.get('coco_url'), str):
        changes['file_name'] = '/'.join(image['coco_url'].split('/')[-2:])
        report.warn("images without 'file_name', taken from the end of 'coco_url'", f'image {image.get("id")}')
    return {**image, **changes} if changes else image


def _match_ids(entries: list[dict], key: str, targets: list[dict], report: AnnotationReport) -> list[dict]:
    """Give annotations the ids of the images or categories they mean, where one has a number and the other its text."""
    known = {target['id'] for target in targets if is_id(target.get('id'))}
    return [_match_id(entry, key, known, report, 'annotation') for entry in entries]


def _match_segments(entries: list[dict], categories: list[dict], report: AnnotationReport) -> list[dict]:
    """The same for the segments of panoptic data."""
    known = {category['id'] for category in categories if is_id(category.get('id'))}
    matched = []
    for entry in entries:
        segments = entry.get('segments_info')
        if isinstance(segments, list) and all(isinstance(segment, dict) for segment in segments):
            segments = [_match_id(segment, 'category_id', known, report, 'segment') for segment in segments]
            entry = {**entry, 'segments_info': segments}
        matched.append(entry)
    return matched


def _match_id(entry: dict, key: str, known: set, report: AnnotationReport, kind: str) -> dict:
    given = entry.get(key)
    if not _is_hashable(given):
        return {**entry, key: as_json(given)}  # that nothing has, which is reported with the others
    if given in known:
        return entry
    other = other_form(given)
    if other is None or other not in known:
        return entry
    report.warn(
        f'{key} is a text where the id is a number, or the other way round; taken for the same',
        f'{kind} {entry.get("id")}: {as_json(given)} for {as_json(other)}',
    )
    return {**entry, key: other}


def _leave_out_repeated(categories: list[dict], counts: Counter, report: AnnotationReport) -> list[dict]:
    """Leave out entries that repeat another, and those without objects that have the name of another."""
    names = Counter(as_json(category.get('name')) for category in categories)
    kept, seen = [], set()
    for category in categories:
        category_id, name = (as_json(category.get(key)) for key in ('id', 'name'))
        place = f'{name} (id {category_id})'
        if (category_id, name) in seen:
            report.warn('categories listed twice, taken once', place)
        elif names[name] > 1 and _is_hashable(category.get('id')) and not counts[category.get('id')]:
            names[name] -= 1
            report.warn('categories without objects that have the name of another, left out', place)
        else:
            seen.add((category_id, name))
            kept.append(category)
    return kept


def _is_hashable(value: Any) -> bool:
    return not isinstance(value, (list, dict))


def index_images(images: list[dict], report: AnnotationReport) -> dict[Any, dict | None]:
    """Check the image entries and index them.

    Args:
        images: Entries with `id`, `file_name`, `height` and `width` in pixels.
        report: Collects the problems.

    Returns:
        The entry of each id; None for a faulty entry, whose annotations need no errors of their own.
    """
    index: dict[Any, dict | None] = {}
    report.totals['images'] = len(images)
    for position, image in enumerate(images):
        place = f'images[{position}] (id {as_json(image.get("id"))}, {image.get("file_name")})'
        image_id = image.get('id')
        has_id = is_id(image_id)
        fault = _find_image_fault(image)
        if fault is not None:
            report.fault(fault[0], place, fault[1], position, [image_id] if has_id else (), 'images')
        if not has_id:
            continue
        if image_id in index:
            text = 'another image has the same id; give each image its own'
            report.fault(text, place, '', position, [image_id], 'images')
        index[image_id] = image if fault is None else None
    _check_kinds('images', index, report)
    names = Counter(posixpath.normpath(image['file_name']) for image in index.values() if image is not None)
    for name, count in names.items():
        if count > 1:
            report.warn('files that are listed more than once, each time as an image of its own', name)
    return index


def _check_kinds(key: str, ids: Iterable[Any], report: AnnotationReport) -> None:
    """Reject ids of which some are numbers and some texts; numpy would make texts of all when evaluating."""
    first = {isinstance(value, str): value for value in reversed(list(ids))}
    if len(first) > 1:
        numbers_and_texts = f'got {as_json(first[False])} and {as_json(first[True])}'
        report.error(f'the ids of {key!r} must be all numbers or all texts, {numbers_and_texts}')


def _find_image_fault(image: dict) -> tuple[str, str] | None:
    """What is wrong with an image entry, and what it has."""
    missing = [key for key in IMAGE_KEYS if key not in image]
    if missing:
        return f'the key(s) {missing} are missing', ''
    if not is_id(image['id']):
        return 'the id of an image must be a number or a text', f'got {as_json(image["id"])}'
    if name_fault := find_file_name_fault(image['file_name']):
        return f'file_name {name_fault}', f'got {as_json(image["file_name"])}'
    height, width = image['height'], image['width']
    if not (type(height) is int and type(width) is int and height > 0 and width > 0):
        return (
            'height and width must be positive whole numbers, the size of the image in pixels',
            f'got {as_json(height)} and {as_json(width)}',
        )
    if min(height, width) < MIN_IMAGE_SIDE:
        return (
            f'an image so small cannot be segmented (at least {MIN_IMAGE_SIDE} x {MIN_IMAGE_SIDE} pixels are needed); '
            'remove its entry and its annotations',
            f'got {width} x {height} pixels',
        )
    return None


def check_categories(categories: list[dict], classes: Sequence[str], report: AnnotationReport) -> list[int]:
    """Check the categories against the classes of the dataset's metainfo, which are found by name, in any order.

    Args:
        categories: Entries with `id` and `name`.
        classes: Class names of the dataset's metainfo; a subset of the file's. Labels are positions in it.
        report: Collects the problems.

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
        # Names that are there are checked below.
        wrong = [value for value in values if value is None or (key == 'id' and not is_id(value))]
        counts = Counter(value for value in values if is_id(value))
        repeated = [value for value, count in counts.items() if count > 1]
        if wrong or repeated:
            twice = f'; more than once: {as_json(repeated)}' if repeated else ''
            report.error(f'every category needs its own {key!r}, got {as_json(values)}{twice}')
    _check_kinds('categories', [category.get('id') for category in categories], report)
    if name_fault := describe_class_names(categories):
        report.error(name_fault)
        report.raise_errors()  # they may not even be comparable
    names = [category.get('name') for category in categories]
    missing = [name for name in classes if name not in names]
    if missing:
        report.error(
            f'metainfo.classes has {missing}, which are not among the categories of the file, {names}; '
            'set metainfo=dict(classes=(...)) of the dataset and the class count of the model to the categories'
        )
    if report.num_errors > num_errors_before:
        report.raise_errors()
    ids = {category['name']: category['id'] for category in categories}
    return [ids[name] for name in classes]


def unknown_category(category_names: Sized) -> str:
    """The fault of an annotation or segment whose category id is none of the file's."""
    return (
        f"this category id is not among the {len(category_names)} of the file's 'categories'; correct it or add the "
        'category'
    )
