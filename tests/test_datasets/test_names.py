"""Names in annotation files that no file or class can have, and files that have nearly the name."""

import unicodedata
from pathlib import Path

import pytest

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.names import (
    describe_class_names,
    find_class_name_fault,
    find_file_name_fault,
    report_missing_files,
)


@pytest.mark.parametrize('name', [0, 1.5, True, None, ['a'], '', ' \t', 'a\nb', 'a\x1b[2J', '\ud800', 'a\u2028b'])
def test_names_that_no_class_can_have(name) -> None:
    assert find_class_name_fault(name)


@pytest.mark.parametrize('name', ['0', 'null', '{{ a }}', 'it\'s "a"', '$a$', '100%', '\u7247 \U0001f600', 'a\u00a0b'])
def test_names_that_a_class_can_have(name: str) -> None:
    assert find_class_name_fault(name) is None


def test_faulty_class_names_are_counted() -> None:
    categories = [dict(id=3, name='a'), dict(id=4, name=0), dict(id=5, name=1), dict(id=6)]
    assert describe_class_names(categories) == (
        'the names of 2 categories cannot be used, first 0 (category id 4): a name must be a text; write it in '
        'quotation marks'
    )
    assert describe_class_names(categories[:1]) is None


@pytest.mark.parametrize(
    ('name', 'fault'),
    [
        ('s3://bucket/a.jpg', 'is an address'),
        ('HTTPS://a.org/b.jpg?x=1', 'is an address'),
        (5, 'must be a text'),
        (None, 'must be a text'),
        ('', 'must be a text'),
        ('.', 'must be a text'),
        ('deep/', 'must be a text'),
        ('C:\\a.jpg', 'path of Windows'),
        ('a\0.jpg', 'control characters'),
        ('a\n.jpg', 'control characters'),
        ('a:b.jpg', None),
        ('deep/../a.jpg', None),
        ('gr\u00fcn.jpg', None),
    ],
)
def test_file_names(name, fault: str | None) -> None:
    found = find_file_name_fault(name)
    assert found is None if fault is None else fault in found


@pytest.mark.parametrize(
    ('on_disk', 'listed', 'difference'),
    [
        (unicodedata.normalize('NFD', 'gr\u00fcn.jpg'), 'gr\u00fcn.jpg', 'differs in its Unicode form alone'),
        ('gr\u00fcn.jpg', unicodedata.normalize('NFD', 'gr\u00fcn.jpg'), 'differs in its Unicode form alone'),
        ('A.JPG', 'a.jpg', 'differs in upper and lower case alone'),
        ('a b.jpg', 'a%20b.jpg', "'%20' and the like"),
        ('a.png', 'a.jpg', 'ends in another way'),
        ('deep/a.jpg', 'deep\\a.jpg', 'replace each backslash'),
    ],
)
def test_a_file_of_nearly_the_name_is_named(tmp_path: Path, on_disk: str, listed: str, difference: str) -> None:
    path = tmp_path / on_disk
    path.parent.mkdir(exist_ok=True)
    path.touch()
    report = AnnotationReport('a.json', leaves_out=True)
    report_missing_files(report, [(f'{tmp_path}/{listed}', 7)], 'image', 'file_name')
    ((message,),) = report.left_out.values()
    assert message.startswith('image 7: the file is not there, but one whose ') and difference in message
    assert message.endswith(f'(file_name), no file at {tmp_path}/{listed}, but {path.name} is')
    assert list(report.left_out) == [7]


def report_lines(paths: list[tuple[str, str]]) -> list[str]:
    report = AnnotationReport('a.json')
    report_missing_files(report, paths, 'image', 'x')
    return report.lines()


def test_files_that_are_there_and_files_of_no_likeness(tmp_path: Path) -> None:
    (tmp_path / 'a.jpg').touch()
    assert report_lines([(f'{tmp_path}/{name}', name) for name in ('a.jpg', 'b.jpg', 'no/a.jpg')]) == [
        f'image b.jpg: the file is not there (x), no file at {tmp_path}/b.jpg (1 of 3 images)',
        f'image no/a.jpg: the file is not there, there is no folder {tmp_path}/no (x), no file at {tmp_path}/no/a.jpg '
        '(1 of 3 images)',
    ]


def test_many_files_make_one_line(tmp_path: Path) -> None:
    """Also where several images have one file."""
    (tmp_path / 'there.jpg').touch()
    names = ['there.jpg', 'a.jpg', 'a.jpg', *(f'{index}.jpg' for index in range(6))]
    (line,) = report_lines([(f'{tmp_path}/{name}', index) for index, name in enumerate(names)])
    assert line.startswith(f'8 of 9 images: the file is not there (x): image 1: no file at {tmp_path}/a.jpg; image 2: ')
    assert line.endswith('; also 6 to 8')
