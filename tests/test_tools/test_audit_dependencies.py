"""The audit script, with a pip-audit that knows what a test tells it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# Answers like pip-audit: its exit status is 1 for a vulnerability and for a failure alike.
FAKE = """#!/usr/bin/env bash
echo "$*" >> "$CALLS"
source=$2
case "$*" in
  *' -r '*) package=$(cat "${@: -1}") ;;
  *) package=installed ;;
esac
case " $REACHABLE " in
  *" $source "*) ;;
  *) if [ "$source" = osv ]; then echo 'Failed to resolve host' >&2; exit 1; fi; echo "$package was skipped"; exit 0 ;;
esac
case " $VULNERABLE " in
  *" $package "*) echo "$package  PYSEC-2022-10"; exit 1 ;;
esac
echo 'No known vulnerabilities found'
"""


@pytest.fixture
def audit(project_root: Path, tmp_path: Path):
    """Runs the script in a copy of the project whose environments have no packages."""
    (tmp_path / '.ci').mkdir()
    shutil.copy(project_root / '.ci' / 'audit_dependencies.sh', tmp_path / '.ci')
    for name, text in (
        ('bin/pip-audit', FAKE),
        ('.venv/bin/python', '#!/bin/sh\necho site-of-current\n'),
        ('.venv-classic/bin/python', '#!/bin/sh\necho site-of-classic\n'),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
        path.chmod(0o755)

    def _audit(*arguments: str, reachable: str = 'pypi osv', vulnerable: str = '') -> subprocess.CompletedProcess:
        environment = {
            'PATH': f'{tmp_path / "bin"}{os.pathsep}{os.environ["PATH"]}',
            'CALLS': str(tmp_path / 'calls'),
            'REACHABLE': reachable,
            'VULNERABLE': f'pillow==9.0.0 {vulnerable}',
        }
        command = ['bash', str(tmp_path / '.ci' / 'audit_dependencies.sh'), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return _audit


@pytest.mark.parametrize(('reachable', 'source'), [('pypi osv', 'pypi'), ('osv', 'osv')])
def test_a_sound_environment(audit, tmp_path: Path, reachable: str, source: str) -> None:
    result = audit('classic', '--ignore-vuln', 'PYSEC-1', reachable=reachable)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        f'audit_dependencies.sh: .venv-classic, advisories of {source}',
        'No known vulnerabilities found',
    ]
    last_call = (tmp_path / 'calls').read_text().splitlines()[-1].split()
    assert last_call[:2] == ['--vulnerability-service', source]
    assert last_call[-4:] == ['--path', 'site-of-classic', '--ignore-vuln', 'PYSEC-1']


@pytest.mark.parametrize('reachable', ['pypi', 'osv'])
def test_a_vulnerability_fails(audit, reachable: str) -> None:
    result = audit(reachable=reachable, vulnerable='installed')
    assert result.returncode == 1
    assert 'installed  PYSEC-2022-10' in result.stdout


def test_no_source_is_not_taken_for_no_vulnerability(audit, tmp_path: Path) -> None:
    """Nor is a mirror that answers without advisories."""
    result = audit(reachable='', vulnerable='installed')
    assert result.returncode == 3
    assert 'not audited: no advisory source reachable' in result.stderr
    assert len((tmp_path / 'calls').read_text().splitlines()) == 2  # the installed packages were not looked up


def test_a_missing_environment(audit, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / '.venv-classic')
    result = audit('classic')
    assert result.returncode == 2
    assert 'make it with tools/setup_env.sh classic' in result.stderr
