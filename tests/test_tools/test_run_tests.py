"""The exit status of tools/run_tests.sh, with an environment whose python only says what it is asked to run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

PYTHON = """#!/usr/bin/env bash
echo "$*"
case "$*" in
  *ruff*) ;;
  *mypy*) exit "${TYPES:-0}" ;;
  *) exit "${TESTS:-0}" ;;
esac
"""


@pytest.fixture
def run_tests(project_root: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Runs the script; TESTS is the exit status of the tests, AUDIT that of the audit."""
    files = {
        '.venv/bin/python': PYTHON,
        '.venv-classic/bin/python': PYTHON,
        'bin/chromium': '#!/bin/sh\n',  # so that no browser is installed
        'tools/setup_env.sh': 'exit 0\n',
        '.ci/audit_dependencies.sh': 'exit "$AUDIT"\n',
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    script = shutil.copy(project_root / 'tools' / 'run_tests.sh', tmp_path / 'tools')

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
        kept = {name: value for name, value in os.environ.items() if name != 'CI'}
        environment = {**kept, 'PATH': f'{tmp_path / "bin"}{os.pathsep}{os.environ["PATH"]}', **variables}
        return subprocess.run(
            ['bash', script, *arguments], env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize('status', [0, 1])
def test_all_tests_run_on_all_cores(run_tests, status: int) -> None:
    done = run_tests(TESTS=str(status))
    assert done.returncode == status
    assert f'-m pytest -n {len(os.sched_getaffinity(0))} ' in done.stdout


def test_wrong_types_fail(run_tests) -> None:
    assert run_tests(TYPES='1').returncode == 1
    assert run_tests('classic', TYPES='1').returncode == 0, 'checked once, with the current packages'


def test_arguments_go_to_pytest(run_tests) -> None:
    done = run_tests('current', '-k', 'name', TESTS='1')
    assert done.returncode == 1 and done.stdout.splitlines()[-1] == '-m pytest -k name'


@pytest.mark.parametrize(('status', 'expected'), [('0', 0), ('1', 1), ('3', 0)])
def test_the_ci_fails_on_vulnerabilities_alone(run_tests, status: str, expected: int) -> None:
    assert run_tests(CI='true', AUDIT=status).returncode == expected
    assert run_tests(AUDIT=status).returncode == 0
