import runpy
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture
def run_tool(monkeypatch):
    """Runs a script of tools/ as from the command line, in this process.

    Returns 0, or what it gave to sys.exit: a message, which the shell sees as exit status 1, or a number.
    """

    def _run_tool(name, *args):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
        try:
            runpy.run_path(str(TOOLS / name), run_name='__main__')
        except SystemExit as stop:
            return stop.code or 0
        return 0

    return _run_tool
