"""The command line of the exporter."""

import builtins

import pytest
import torch

from mmmaskdino.export import exporter
from mmmaskdino.export.check import CheckError
from mmmaskdino.export.command import main


@pytest.fixture
def arguments(small_config, make_clear_model, tmp_path):
    """`--config`, `--weights` and `--out` of a small detection model."""
    cfg = small_config('detection')
    config, weights = tmp_path / 'config.py', tmp_path / 'weights.pth'
    cfg.dump(config)
    torch.save(dict(state_dict=make_clear_model(cfg).state_dict()), weights)
    return ['--config', str(config), '--weights', str(weights), '--out', str(tmp_path / 'model.onnx')]


def test_export_and_table(arguments, tmp_path, capsys):
    assert main([*arguments, '--outputs', 'results', '--size', '96', '128']) == 0
    assert (tmp_path / 'model.onnx').is_file()
    printed = capsys.readouterr().out
    assert 'onnxruntime generated, 56 x 111 in 96 x 128:  scores ' in printed
    assert 'MB, outputs: results' in printed


def test_disagreement_is_exit_status_1(arguments, tmp_path, capsys, monkeypatch):
    def disagree(*args):
        raise CheckError('they differ')

    monkeypatch.setattr(exporter, 'check_file', disagree)
    assert main([*arguments, '--size', '96', '128']) == 1
    assert 'export: they differ' in capsys.readouterr().err
    assert not (tmp_path / 'model.onnx').exists()


def test_messages_for_people(arguments, capsys):
    assert main([*arguments, '--size', '100', '128']) == 1
    assert 'multiples of 32' in capsys.readouterr().err
    assert main([*arguments, '--size', '96', '128', '--check-images', 'nowhere.jpg']) == 1
    assert 'nowhere.jpg' in capsys.readouterr().err


def test_missing_package_is_named(arguments, capsys, monkeypatch):
    imported = builtins.__import__

    def without_onnx(name, *args):
        if name == 'onnx' or (args and args[-1] == 1 and name in ('check', 'exporter')):
            raise ModuleNotFoundError("No module named 'onnx'", name='onnx')
        return imported(name, *args)

    monkeypatch.setattr(builtins, '__import__', without_onnx)
    assert main(arguments) == 1
    assert 'pip install "mmmaskdino[export]"' in capsys.readouterr().err
