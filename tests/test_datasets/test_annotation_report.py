import pytest

from mmmaskdino.datasets.annotation_report import AnnotationReport, as_json
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


def test_a_fault_of_many_is_one_line_that_counts_them():
    report = AnnotationReport('x.json')
    report.error('first of all')
    for number in [*range(1, 9), 11, 'a']:
        report.fault('it is wrong', f'annotation {number}', f'got {number}', number, [number])
    report.fault('it is odd', 'images[0]', '', 0, kind='images')
    report.totals['annotations'] = 20
    assert report.num_errors == 12
    shown = '; '.join(f'annotation {number}: got {number}' for number in range(1, 6))
    assert report.lines() == [
        'first of all',
        f'10 of 20 annotations: it is wrong: {shown}; also 6 to 8, 11, "a"',
        'images[0]: it is odd',
    ]
    with pytest.raises(DataError, match=r'x\.json: 12 problem\(s\)\n  - first of all\n  - 10 of 20'):
        report.raise_errors()


def test_the_ids_of_many_cases_are_cut():
    report = AnnotationReport('x.json')
    for number in range(0, 1000, 2):
        report.fault('it is wrong', f'annotation {number}', label=number)
    (line,) = report.lines()
    assert 'also 10, 12, ' in line and line.endswith(' and 445 more such ranges')


def test_what_belongs_to_images_can_be_left_out():
    report = AnnotationReport('x.json', leaves_out=True)
    report.fault('it is wrong', 'annotation 1', 'got 7', 1, [3])
    report.fault('it has no image', 'annotation 2')
    assert report.left_out == {3: ['annotation 1: it is wrong, got 7']}
    assert report.num_errors == 1


@pytest.mark.parametrize(
    ('value', 'text'),
    [('18', '"18"'), (None, 'null'), (True, 'true'), (float('nan'), 'NaN'), ('ä', '"ä"'), ({1}, '"{1}"')],
)
def test_values_are_shown_as_they_stand_in_the_json(value, text):
    assert as_json(value) == text


def test_long_values_are_cut():
    text = as_json(list(range(1000)))
    assert len(text) == 80 and text.startswith('[0, 1, 2') and text.endswith('...')


def test_warnings_are_one_message_that_counts_kinds(logged):
    report = AnnotationReport('x.json')
    for number in range(8):
        report.warn('odd', f'<{number}>')
    report.warn('strange', 'there')
    report.warn('strange', 'there')
    report.log_warnings()
    assert len(logged) == 1
    assert 'x.json' in logged[0]
    assert 'odd: 8 (<0>, <1>, <2>, <3>, <4>, ...)' in logged[0]
    assert 'strange: 1 (there)' in logged[0]


def test_cases_with_words_of_their_own():
    """They are told together by what they have in common; the first two are shown."""
    report = AnnotationReport('x.json')
    report.totals['images'] = 4
    for number in range(3):
        report.fault('', f'image {number}', f'{number}.jpg is damaged', number, kind='images', alike='is damaged')
    report.fault('', '', '3.jpg is too large', 3, kind='images', alike='is too large')
    assert report.lines() == [
        '3 of 4 images: image 0: 0.jpg is damaged; image 1: 1.jpg is damaged; also 2',
        '3.jpg is too large (1 of 4 images)',
    ]
    assert report.num_errors == 4
