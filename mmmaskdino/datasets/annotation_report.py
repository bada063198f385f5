"""Everything that is wrong with one annotation file, told at once."""

import logging
from collections.abc import Hashable, Iterable

from mmengine.logging import print_log

from mmmaskdino.datasets.files import DataError

MAX_LISTED = 20
MAX_IDS = 5


class AnnotationReport:
    """Collects the problems of one annotation file, so that the user can mend all of them at once.

    Args:
        ann_file: Path of the file, as the user wrote it; it heads every message.
        leaves_out: Whether the images are to be left out that problems belong to.
    """

    def __init__(self, ann_file: str, leaves_out: bool = False) -> None:
        self.ann_file = ann_file
        self.leaves_out = leaves_out
        self.left_out: dict[Hashable, list[str]] = {}
        """The problems of each image that is left out."""
        self._errors: list[str] = []
        self._warnings: dict[str, list[str]] = {}

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def error(self, message: str) -> None:
        """Note a defect of the whole file, which must be mended before training.

        Args:
            message: Where it is, what was expected, what came, how to mend it.
        """
        self._errors.append(message)

    def image_error(self, message: str, images: Iterable[Hashable]) -> None:
        """Note a defect that would not be there without some images: it must be mended, or they are left out.

        Args:
            message: As of :meth:`error`.
            images: The images, by id or path.
        """
        if not self.leaves_out:
            self.error(message)
            return
        for image in images:
            self.left_out.setdefault(image, []).append(message)

    def warn(self, kind: str, where: str) -> None:
        """Note a case in which work can rightly go on.

        Args:
            kind: What is odd and what is done about it; cases of one kind are counted together.
            where: The annotation, image or category it was found at.
        """
        self._warnings.setdefault(kind, []).append(where)

    def raise_errors(self) -> None:
        """Raise one error that lists the defects noted so far.

        Raises:
            DataError: There are any; the first 20 are listed, and how many more there are.
        """
        if not self._errors:
            return
        lines = [f'{self.ann_file}: {len(self._errors)} problem(s)']
        lines += [f'  - {message}' for message in self._errors[:MAX_LISTED]]
        if len(self._errors) > MAX_LISTED:
            lines.append(f'  ... and {len(self._errors) - MAX_LISTED} more')
        raise DataError('\n'.join(lines))

    def log_warnings(self) -> None:
        """Log one warning that counts each kind of odd case and names the first few; nothing without any."""
        if not self._warnings:
            return
        lines = [f'{self.ann_file}:']
        for kind, places in self._warnings.items():
            dots = ', ...' if len(places) > MAX_IDS else ''
            lines.append(f'  - {kind}: {len(places)} ({", ".join(places[:MAX_IDS])}{dots})')
        print_log('\n'.join(lines), logger='current', level=logging.WARNING)
