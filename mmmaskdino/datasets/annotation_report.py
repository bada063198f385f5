"""Everything that is wrong with one annotation file, told at once."""

import json
import logging
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from mmengine.logging import print_log

from mmmaskdino.datasets.files import DataError

MAX_LISTED = 20  # lines of an error in the log of a run
MAX_SHOWN = 5  # cases of one kind that are shown with image and value
MAX_MESSAGES = 2  # where each case has words of its own
MAX_RANGES = 50  # of the further ones, by their ids alone
MAX_VALUE = 80  # characters of a value


class _Case(NamedTuple):
    """One annotation, image or category that has a fault."""

    fault: str
    where: str
    got: str
    label: Any
    kind: str


class AnnotationReport:
    """Collects the problems of one annotation file, so that the user can fix all of them at once.

    Args:
        ann_file: Path of the file, as the user wrote it; it heads every message.
        leaves_out: Whether the images are to be left out that problems belong to.
    """

    def __init__(self, ann_file: str, leaves_out: bool = False) -> None:
        self.ann_file = ann_file
        self.leaves_out = leaves_out
        self.left_out: dict[Hashable, list[str]] = {}
        """The problems of each image that is left out."""
        self.totals: dict[str, int] = {}
        """How many annotations or images there are in all."""
        # Each fault once, in the order in which they were met; those of the whole file have no cases.
        self._errors: dict[str, list[_Case]] = {}
        self._warnings: dict[str, list[str]] = {}

    @property
    def num_errors(self) -> int:
        """Number of problems: a fault of several annotations counts for each."""
        return sum(max(len(cases), 1) for cases in self._errors.values())

    @property
    def remarks(self) -> dict[str, list[str]]:
        """Where each kind of odd case was met."""
        return self._warnings

    def error(self, message: str) -> None:
        """Note a defect of the whole file, which must be fixed before training.

        Args:
            message: Where it is, what was expected, what came, how to fix it.
        """
        self._errors.setdefault(message, [])

    def fault(
        self,
        fault: str,
        where: str,
        got: str = '',
        label: Any = None,
        images: Iterable[Hashable] = (),
        kind: str = 'annotations',
        alike: str | None = None,
    ) -> None:
        """Note that something has a fault that others may have, too. All of them make one line of the message.

        Args:
            fault: What is wrong and how to fix it, in words that fit all cases.
            where: The annotation, image or category, for people.
            got: What came, for example 'got "18"'.
            label: Short name, such as the id, where there is no room for `where`.
            images: The images it belongs to, by id, which can be left out instead.
            kind: What it is: 'annotations' or 'images', say, which are counted in :attr:`totals`.
            alike: What cases that are told together have in common, where `fault` is empty and `got` says all.
        """
        case = _Case(fault, where, got, label, kind)
        images = list(images)
        if self.leaves_out and images:
            for image in images:
                self.left_out.setdefault(image, []).append(_describe([case], {}))
        else:
            self._errors.setdefault(alike or fault, []).append(case)

    def warn(self, kind: str, where: str) -> None:
        """Note a case in which work can rightly go on.

        Args:
            kind: What is odd and what is done about it; cases of one kind are counted together.
            where: The annotation, image or category it was found at.
        """
        places = self._warnings.setdefault(kind, [])
        if not places or places[-1] != where:  # an annotation counts once, also with several such values
            places.append(where)

    def lines(self) -> list[str]:
        """One line for each kind of defect: how many there are of it, the first few, and which the others are."""
        return [_describe(cases, self.totals) if cases else fault for fault, cases in self._errors.items()]

    def raise_errors(self) -> None:
        """Raise one error that lists the defects noted so far.

        Raises:
            DataError: There are any; the first 20 kinds are listed, and how many more there are.
        """
        if not self._errors:
            return
        lines = self.lines()
        listed = [f'{self.ann_file}: {self.num_errors} problem(s)', *(f'  - {line}' for line in lines[:MAX_LISTED])]
        if len(lines) > MAX_LISTED:
            listed.append(f'  ... and {len(lines) - MAX_LISTED} more')
        raise DataError('\n'.join(listed))

    def log_warnings(self) -> None:
        """Log one warning that counts each kind of odd case and names the first few; nothing without any."""
        if not self._warnings:
            return
        lines = [f'  - {kind}: {count_places(places)}' for kind, places in self._warnings.items()]
        print_log('\n'.join([f'{self.ann_file}:', *lines]), logger='current', level=logging.WARNING)


def count_places(places: Sequence[str]) -> str:
    """The number of places and the first few of them."""
    dots = ', ...' if len(places) > MAX_SHOWN else ''
    return f'{len(places)} ({", ".join(places[:MAX_SHOWN])}{dots})'


def as_json(value: Any) -> str:
    """A value as it stands in the json, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= MAX_VALUE else f'{text[: MAX_VALUE - 3]}...'


def _describe(cases: list[_Case], totals: dict[str, int]) -> str:
    fault, kind = cases[0].fault, cases[0].kind
    number = f'{len(cases)} of {totals[kind]} {kind}' if kind in totals else f'{len(cases)} {kind}'
    if len(cases) == 1:
        text = ', '.join(filter(None, (fault, cases[0].got)))
        return ': '.join(filter(None, (cases[0].where, text))) + (f' ({number})' if kind in totals else '')
    num_shown = MAX_SHOWN if fault else MAX_MESSAGES
    shown = '; '.join(': '.join(filter(None, (case.where, case.got))) for case in cases[:num_shown])
    others = [case.label for case in cases[num_shown:]]
    more = f'; also {_list_ranges(others)}' if others else ''
    return ': '.join(filter(None, (number, fault, shown))) + more


def _list_ranges(labels: list) -> str:
    """Ids as ranges, such as 3, 5 to 9, 12."""
    ranges: list[list] = []
    for label in labels:
        if ranges and type(label) is int and type(ranges[-1][-1]) is int and label == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], label]
        else:
            ranges.append([label])
    texts = [' to '.join(map(as_json, part)) for part in ranges[:MAX_RANGES]]
    rest = len(ranges) - len(texts)
    return ', '.join(texts) + (f' and {rest} more such ranges' if rest else '')
