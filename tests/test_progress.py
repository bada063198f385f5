from __future__ import annotations

import io

import pytest

from mmmaskdino import progress
from mmmaskdino.progress import Progress, progress_callback


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_a_bar() -> None:
    terminal = Terminal()
    list(Progress(range(3), file=terminal, mininterval=0))
    assert terminal.getvalue().count('\r') > 1 and '3/3' in terminal.getvalue()


def test_short_work_says_nothing_to_a_log_file() -> None:
    log = io.StringIO()
    list(Progress(range(1000), file=log))
    assert log.getvalue() == ''


def test_long_work_writes_lines_to_a_log_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, 'QUIET_SECONDS', 1e-9)
    log = io.StringIO()
    list(Progress(range(3), file=log, desc='reading', unit='image'))
    lines = log.getvalue().splitlines()
    assert lines[-1].startswith('reading: 3/3 [') and 'image' in lines[-1]
    assert '\r' not in log.getvalue() and all(line.startswith('reading: ') for line in lines)


def test_the_callback_learns_the_length_late(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, 'QUIET_SECONDS', 1e-9)
    show = progress_callback()
    show(1, 2)
    show(2, 2)
    assert '2/2' in capsys.readouterr().err.splitlines()[-1]


def test_the_time_of_the_first_part_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock starts before the work: a bar that starts after it shows thousands of images a second."""
    made = []
    monkeypatch.setattr(progress, 'Progress', lambda **options: made.append(options) or Progress(**options))
    show = progress_callback(unit='frame')
    assert made == [dict(unit='frame')]
    show(1, 1)
    assert len(made) == 1
