"""What is wrong with many files in the same way is said once."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterable

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.image_reading import Remark


def report_file_fault(
    report: AnnotationReport, message: str, where: str, label: Hashable, names: Iterable[str]
) -> None:
    """Report what is wrong with the file of an image.

    Args:
        report: Collects the problems.
        message: What is wrong, with the names of files.
        where: The image, for people, or nothing where the message names it.
        label: Its id or name.
        names: Names in the message; without them, and without numbers, faults of one kind begin alike.
    """
    alike = message
    for name in names:
        alike = alike.replace(name, '') if name else alike
    report.fault('', where, message, label, kind='images', alike=re.split(r'[\d(]', alike)[0])


class ReportedRemarks:
    """Puts what is lost of images into a report.

    Args:
        report: Collects it.
    """

    def __init__(self, report: AnnotationReport) -> None:
        self._report = report

    def add(self, path: str, remark: Remark) -> None:
        """Note an image."""
        self._report.warn(remark.kind, f'{os.path.basename(path)}{remark.detail and f", {remark.detail}"}')
