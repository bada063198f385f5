import pytest

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.files import DataError


def test_nothing_to_say(logged):
    report = AnnotationReport('x.json')
    report.raise_errors()
    report.log_warnings()
    assert logged == []
    assert report.num_errors == 0


def test_errors_are_listed_at_once_and_cut():
    report = AnnotationReport('x.json')
    for number in range(33):
        report.error(f'problem <{number}>')
    with pytest.raises(DataError, match=r'x\.json: 33 problem') as caught:
        report.raise_errors()
    message = str(caught.value)
    assert 'problem <0>' in message
    assert 'problem <19>' in message
    assert 'problem <20>' not in message
    assert 'and 13 more' in message


def test_warnings_are_one_message_that_counts_kinds(logged):
    report = AnnotationReport('x.json')
    for number in range(8):
        report.warn('odd', f'<{number}>')
    report.warn('strange', 'there')
    report.log_warnings()
    assert len(logged) == 1
    assert 'x.json' in logged[0]
    assert 'odd: 8 (<0>, <1>, <2>, <3>, <4>, ...)' in logged[0]
    assert 'strange: 1 (there)' in logged[0]
