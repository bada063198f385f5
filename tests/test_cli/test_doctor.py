"""`mmmaskdino doctor`."""

from __future__ import annotations

import mmcv.ops
import pytest
import torch

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
