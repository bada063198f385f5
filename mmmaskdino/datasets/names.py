"""Names of classes and files in annotation files: what they must be, and what a file is really called."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from typing import Any
from urllib.parse import unquote

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.files import find_missing_files
from mmmaskdino.plain_text import is_control

_WINDOWS = re.compile(r'[A-Za-z]:[\\/]')
_ADDRESS = re.compile(r'[a-z][a-z0-9+.-]+://', re.IGNORECASE)


def find_class_name_fault(name: Any) -> str | None:
    """What is wrong with the name of a class, to be said after it; None if nothing is."""
    if not isinstance(name, str):
        return 'must be a text; write it in quotation marks'
    if not name.strip():
        return 'must not be empty'
    if any(map(is_control, name)):
        return 'must be of one line, without control characters'
    return None


def find_file_name_fault(name: Any) -> str | None:
    """What is wrong with a `file_name`, to be said after it; None if it may be the name of a file."""
    if not isinstance(name, str) or not name or os.path.basename(name) in ('', '.', '..'):
        return 'must be a text, the path of a file below the folder'
    if _WINDOWS.match(name):
        return "is a path of Windows; write the path below the folder, with '/'"
    if _ADDRESS.match(name):
        return 'is an address, not a file below the folder; download the files and write their names'
    if any(map(is_control, name)):
        return 'must be of one line, without control characters'
    return None


def report_missing_files(
    report: AnnotationReport,
    paths: Sequence[tuple[str, Hashable]],
    what: str,
    where: str,
    backend_args: dict[str, Any] | None = None,
    kind: str = 'images',
) -> None:
    """Report which files are not there, and what is there that they may be.

    Args:
        report: Collects the problems.
        paths: Each with the image that it belongs to, by id or path.
        what: What the files belong to, such as 'image'.
        where: The settings that the paths come from.
        backend_args: Arguments of mmengine's file backend; only local files are looked for.
        kind: How the report counts them.
    """
    report.totals.setdefault(kind, len(paths))
    missing = set(find_missing_files(dict(paths), backend_args))
    for path, owner in paths:
        if path in missing:
            difference, other = _find_likely(path)
            but = f', but {other} is' if other else ''
            fault = f'the file is not there{difference and ", "}{"but one " * bool(other)}{difference} ({where})'
            report.fault(fault, f'{what} {owner}', f'no file at {path}{but}', owner, [owner], kind)


def find_likely_file(path: str) -> str:
    """Name of a file that is there and whose name is nearly that of a path; an empty text if none is."""
    return _find_likely(path)[1]


def _find_likely(path: str) -> tuple[str, str]:
    """How a file that is there differs from a path, and its name; two empty texts if none is alike."""
    folder, name = os.path.split(path)
    slashes = path.replace('\\', '/')
    if slashes != path and os.path.isfile(slashes):
        return "whose folders are parted by '/'; replace each backslash", os.path.basename(slashes)
    if not os.path.isdir(folder or '.'):
        return f'there is no folder {folder}', ''
    names = os.listdir(folder or '.')
    for kind, form in _FORMS.items():
        likely = min((other for other in names if form(other) == form(name)), default=None)
        if likely is not None:
            return kind, likely
    return '', ''


def _composed(name: str) -> str:
    return unicodedata.normalize('NFC', name)


# From the smallest difference to the largest. Each says what differs and what fixes it.
_FORMS = {
    'whose name differs in its Unicode form alone; write the name as the disk has it, or rename the file': _composed,
    'whose name differs in upper and lower case alone; write it as the disk has it': (
        lambda name: _composed(name).casefold()
    ),
    "whose name is the same once '%20' and the like are replaced; write it as the disk has it": (
        lambda name: _composed(unquote(name)).casefold()
    ),
    'whose name ends in another way; correct the suffix': (
        lambda name: os.path.splitext(_composed(unquote(name)).casefold())[0]
    ),
}


def describe_class_names(categories: Iterable[dict]) -> str | None:
    """What is wrong with the names of categories that have one; None if nothing is."""
    faults = [(c, fault) for c in categories if 'name' in c and (fault := find_class_name_fault(c['name']))]
    if not faults:
        return None
    category, fault = faults[0]
    return (
        f'the names of {len(faults)} categor{"y" if len(faults) == 1 else "ies"} cannot be used, first '
        f'{category["name"]!r} (category id {category.get("id")}): a name {fault}'
    )
