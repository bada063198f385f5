"""All shell scripts are sound by shellcheck."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted([*(ROOT / 'tools').rglob('*.sh'), *(path for path in (ROOT / '.ci').iterdir() if path.is_file())])


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_shellcheck(script: Path) -> None:
    shellcheck = Path(sys.executable).with_name('shellcheck')
    result = subprocess.run([str(shellcheck), str(script)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_shellcheck_finds_faults(tmp_path: Path) -> None:
    (tmp_path / 'faulty.sh').write_text('#!/bin/sh\nrm -r $1/*\n')
    shellcheck = Path(sys.executable).with_name('shellcheck')
    result = subprocess.run([str(shellcheck), str(tmp_path / 'faulty.sh')], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and 'SC2086' in result.stdout
