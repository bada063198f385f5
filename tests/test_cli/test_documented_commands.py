"""Every `mmmaskdino` command that the documentation or a help text prints is one that the program understands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mmmaskdino.cli import main as command_line
from mmmaskdino.cli.main import COMMANDS, build_parser


def documented_commands(text: str) -> list[str]:
    """The lines of a text that begin with a command, continued lines joined and variables replaced."""
    joined = re.sub(r'\\\n\s*', ' ', text)
    for name, value in re.findall(r'(?m)^([A-Z]+)="?([^"\n]+)"?$', joined):
        joined = joined.replace(f'${name}', value)
    return re.findall(rf'(?m)^\s*(mmmaskdino (?:{"|".join(COMMANDS)})\b.*)$', joined)


def check(commands: list[str], place: str) -> None:
    for command in commands:
        _, name, *arguments = shlex.split(command, comments=True)
        try:
            build_parser(name).parse_args(arguments)
        except SystemExit as stop:
            pytest.fail(f'{place}: the program does not understand: {command} (exit status {stop.code})')


def test_documents(project_root: Path) -> None:
    found = 0
    for path in [project_root / 'README.md', *sorted((project_root / 'docs').glob('*.md'))]:
        blocks = re.findall(r'(?ms)^```(?:bash|shell|console)\n(.*?)^```', path.read_text())
        commands = [command for block in blocks for command in documented_commands(block)]
        check(commands, path.name)
        found += len(commands)
    assert found >= 20


@pytest.mark.parametrize('command', [*COMMANDS, None])
def test_help_texts(command: str | None) -> None:
    text = command_line.EPILOG if command is None else build_parser(command).description
    commands = documented_commands(text)
    assert commands, 'no example'
    check(commands, f'help of {command}')


def test_the_check_can_fail() -> None:
    with pytest.raises(pytest.fail.Exception, match='does not understand: mmmaskdino train --no-config'):
        check(['mmmaskdino train --no-config'], 'here')
