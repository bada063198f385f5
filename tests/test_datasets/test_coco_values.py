import math

import pytest

from mmmaskdino.datasets.coco_values import is_id, other_form, read_flag, read_number, read_numbers


@pytest.mark.parametrize(
    ('value', 'expected'),
    [(3, 3), (-2.5, -2.5), ('3', 3), (' 2.5 ', 2.5), ('1e3', 1000), (0, 0)],
)
def test_numbers(value, expected):
    assert read_number(value) == expected
    assert type(read_number(value)) is type(expected)


@pytest.mark.parametrize(
    'value', [None, True, False, 'x', '', 'nan', 'inf', math.nan, math.inf, [1], {}, 10**400, '1e999', b'1']
)
def test_what_is_no_number(value):
    assert read_number(value) is None
    assert read_numbers([1, value]) is None


def test_lists_are_kept_if_they_need_no_change():
    numbers = [1, 2.5]
    assert read_numbers(numbers) is numbers
    assert read_numbers(['1', 2.5]) == [1, 2.5]
    assert read_numbers([]) == []


@pytest.mark.parametrize('value', [2, -1, 0.5, 'maybe', '2', [], {}, math.nan])
def test_what_is_no_flag(value):
    assert read_flag(value) is None


def test_ids():
    assert all(map(is_id, (0, -1, 2.5, 'a')))
    assert not any(map(is_id, (None, True, '', math.nan, [], {}, 10**400)))


@pytest.mark.parametrize(
    ('value', 'expected'),
    [(7, '7'), ('7', 7), ('-7', -7), ('07', None), ('7.0', None), ('--7', None), ('²', None), ('', None), (True, None)],
)
def test_the_other_form_of_an_id(value, expected):
    assert other_form(value) == expected
