"""Texts of the data that are never more than texts: in configs, in drawings, on the terminal.

mmengine's config files are templates: before a file is read, `{{ ... }}` in it is replaced, in texts as well, so that a
class name with such braces could end the text that it stands in and go on as code. matplotlib sets what stands between
two `$` as a formula, and a terminal obeys control characters.
"""

from __future__ import annotations

import unicodedata
from typing import Any


def literal(value: Any) -> str:
    """A value as it can stand in a config file: Python's own form, without double braces.

    Args:
        value: Texts, numbers, tuples, lists and dicts of them.

    Returns:
        Its `repr`, of one line; mmengine finds nothing to replace in it.
    """
    return without_templates(repr(value))


def without_templates(code: str) -> str:
    """Python code in which double braces, which only texts can have, are written in another way."""
    return code.replace('{{', r'{\x7b')


def without_formulas(text: str) -> str:
    """A text for matplotlib, which draws it as it stands."""
    return text.replace('$', r'\$')


def printable(text: str) -> str:
    """A text for the terminal: control characters but line breaks, and what cannot be encoded, as escapes."""
    return ''.join(char if char == '\n' or not is_control(char) else repr(char)[1:-1] for char in text)


def first_line(error: BaseException) -> str:
    """What an error says first; the name of its class if it says nothing."""
    return str(error).strip().partition('\n')[0].strip() or type(error).__name__


def is_control(char: str) -> bool:
    """Whether a character is a control character (line breaks too), or half of one, which cannot be written."""
    return unicodedata.category(char) in ('Cc', 'Cs', 'Zl', 'Zp')
