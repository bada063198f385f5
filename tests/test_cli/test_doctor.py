"""`mmmaskdino doctor`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mmcv.ops
import pytest
import torch

from mmmaskdino.apis.selftest import checks
from mmmaskdino.cli import doctor
from mmmaskdino.cli.main import main
from mmmaskdino.stack import StackError


def test_a_sound_installation(capsys: pytest.CaptureFixture) -> None:
    assert main(['doctor']) == 0
    text = capsys.readouterr().out
    assert torch.__version__.partition('+')[0] in text
    assert 'attention on cpu' in text and 'runs' in text
    assert 'compiled with' in text
    assert text.endswith('Everything that is needed works.\n')


def test_a_broken_installation(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def fail() -> None:
        raise StackError('mmdet is not installed\n  fix it with: pip install mmdet')

    monkeypatch.setattr(doctor, 'check_stack', fail)
    assert main(['doctor']) == 1
    text = capsys.readouterr().out
    assert 'fix it with: pip install mmdet' in text and 'torch' in text


def test_operators_that_do_not_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError('Not compiled with GPU support\nmore lines')

    monkeypatch.setattr(mmcv.ops.MultiScaleDeformableAttention, 'forward', fail)
    assert main(['doctor']) == 1
    text = capsys.readouterr().out
    assert 'mmcv has no operators for it (Not compiled with GPU support)' in text
    assert 'fix it with: pip install --force-reinstall' in text


def test_optional_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    version = doctor._version
    monkeypatch.setattr(doctor, '_version', lambda name: None if name == 'onnxruntime' else version(name))
    texts = {finding.name: finding.text for finding in doctor.find_optional()}
    assert 'pip install "mmmaskdino[export]"' in texts['onnxruntime']


def test_the_selftest_is_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(checks, 'CHECKS', checks.CHECKS[:2])
    assert main(['doctor', '--selftest', '--device', 'cpu']) == 0
    table = capsys.readouterr().out.partition('Selftest on cpu (')[2].splitlines()
    assert [line.split()[:2] for line in table[1:3]] == [['check', 'result'], ['attention', 'ok']]
    assert 'not run' in table[3] and table[-1] == 'Everything that is needed works.'


def test_a_check_that_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    right = checks.sample_attention
    monkeypatch.setattr(checks, 'CHECKS', checks.CHECKS[:1])
    monkeypatch.setattr(checks, 'sample_attention', lambda *args: -right(*args))
    assert main(['doctor', '--selftest', '--device', 'cpu']) == 1
    text = capsys.readouterr().out
    assert 'attention             FAILED   difference: result 2.0e+00' in text
    assert 'Checks that failed: attention. Please report them' in text


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--device', 'cpu'], '--device belongs to --selftest'),
        (['--selftest', '--device', 'abacus'], '--device abacus cannot be used'),
    ],
)
def test_devices_that_cannot_be_used(arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        main(['doctor', *arguments])


def test_without_the_selftest_the_package_stays_out(project_root: Path) -> None:
    """Its import takes seconds."""
    code = (
        'import sys, mmmaskdino_cli\n'
        "sys.argv = ['mmmaskdino', 'doctor']\n"
        'status = mmmaskdino_cli.main()\n'
        "heavy = {'mmmaskdino.models', 'mmmaskdino.engine', 'mmmaskdino.apis.selftest'} & set(sys.modules)\n"
        'sys.exit(str(heavy) if heavy else status)'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], cwd=project_root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
