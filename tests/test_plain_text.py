"""Texts that stay texts."""

import ast

import pytest
from matplotlib.figure import Figure

from mmmaskdino.plain_text import first_line, literal, printable, without_formulas

TEXTS = ['{{ a }}', '{{{', '\\{{', '\'{{"', 'a\nb', '\x1b[31m', '$x', r'\$\frac{$', '\ud800', '\u7247', '']


@pytest.mark.parametrize('text', TEXTS)
def test_a_literal_is_the_text_without_templates(text: str) -> None:
    for value in (text, (text,), {text: [text, 1, None]}):
        code = literal(value)
        assert ast.literal_eval(code) == value
        assert '{{' not in code and '\n' not in code


@pytest.mark.parametrize('text', [r'$\frac{$', '$a$', '$', 'a', '$$$', r'\$a$ b$'])
def test_what_is_drawn_is_no_formula(text: str) -> None:
    figure = Figure()
    drawn = figure.text(0, 0, without_formulas(text))
    cleaned, is_math = drawn._preprocess_math(drawn.get_text())
    assert not is_math and cleaned.replace('\\', '') == text.replace('\\', '')
    figure.canvas.draw() if hasattr(figure.canvas, 'draw') else None


def test_an_error_is_told_in_its_first_line() -> None:
    assert first_line(ValueError('\n no file \nat all')) == 'no file'
    assert first_line(KeyboardInterrupt()) == 'KeyboardInterrupt'


def test_the_terminal_gets_no_control_characters() -> None:
    assert printable('a\nb \u00fc') == 'a\nb \u00fc'
    assert printable('\x1b[2J\r\ud800') == '\\x1b[2J\\r\\ud800'
    printable('\udcff').encode()
