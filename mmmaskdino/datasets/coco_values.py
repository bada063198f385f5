"""Values of annotation files as they should be: numbers, ids and flags, whatever a program wrote in their place."""

import math
import re
from typing import Any

TEXTS = 'annotations with numbers in quotes, taken as numbers'
FLAGS = {'0': 0, '1': 1, 'false': 0, 'true': 1, 'no': 0, 'yes': 1, '': 0}


def read_number(value: Any) -> float | None:
    """A finite number; None if it is none.

    Args:
        value: A number, or one in quotes. Truth values are no numbers.
    """
    if type(value) is str:
        try:
            value = float(value)
        except ValueError:
            return None
        value = int(value) if math.isfinite(value) and value == int(value) else value
    return value if type(value) in (int, float) and _are_finite([value]) else None


def read_numbers(values: list) -> list | None:
    """A list of finite numbers; None if one is none. The list itself where nothing has to be changed."""
    if _are_plain(values):
        return values if _are_finite(values) else None
    numbers = [read_number(value) for value in values]
    return None if None in numbers else numbers


def _are_plain(values: list) -> bool:
    return set(map(type, values)) <= {int, float}


def _are_finite(values: list) -> bool:
    try:
        return all(map(math.isfinite, values))
    except OverflowError:  # an integer beyond all floats
        return False


def read_flag(value: Any) -> int | None:
    """0 or 1; None if it is neither.

    Args:
        value: 0 or 1, a truth value, null for 0, or one of them in quotes.
    """
    if value is None:
        return 0
    if isinstance(value, str):
        return FLAGS.get(value.strip().lower())
    return int(value) if isinstance(value, (bool, int, float)) and value in (0, 1) else None


def is_id(value: Any) -> bool:
    """Whether a value can be the id of something: a number or a text, not a truth value."""
    return (type(value) in (int, float) and _are_finite([value])) or (type(value) is str and value != '')


def other_form(value: Any) -> Any:
    """The text of a whole number, the number of a text that is one; None of anything else."""
    if type(value) is int:
        return str(value)
    if type(value) is str and re.fullmatch('0|-?[1-9][0-9]{0,18}', value):
        return int(value)
    return None
