"""The command line of the exporter."""

import builtins

import pytest
import torch

from mmmaskdino.cli.main import run_command
from mmmaskdino.export import exporter
from mmmaskdino.export.check import CheckError


@pytest.fixture
def arguments(small_config, make_clear_model, tmp_path):
    """`--config`, `--weights` and `--out` of a small detection model."""
    cfg = small_config('detection')
    config, weights = tmp_path / 'config.py', tmp_path / 'weights.pth'
    cfg.dump(config)
    torch.save(dict(state_dict=make_clear_model(cfg).state_dict()), weights)
    return ['--config', str(config), '--weights', str(weights), '--out', str(tmp_path / 'model.onnx')]


def test_export_and_table(arguments, tmp_path, capsys):
    assert run_command('export', [*arguments, '--outputs', 'results', '--size', '96', '128']) == 0
    assert (tmp_path / 'model.onnx').is_file()
    printed = capsys.readouterr().out
    assert 'onnxruntime generated, 56 x 111 in 96 x 128:  scores ' in printed
    assert 'MB, outputs: results' in printed


def test_disagreement_is_exit_status_1(arguments, tmp_path, monkeypatch):
    def disagree(*args):
        raise CheckError('they differ')

    monkeypatch.setattr(exporter, 'check_file', disagree)
    with pytest.raises(SystemExit, match='export: they differ'):
        run_command('export', [*arguments, '--size', '96', '128'], 'export')
    assert not (tmp_path / 'model.onnx').exists()


def test_messages_for_people(arguments):
    with pytest.raises(SystemExit, match='multiples of 32'):
        run_command('export', [*arguments, '--size', '100', '128'])
    with pytest.raises(SystemExit, match='nowhere.jpg'):
        run_command('export', [*arguments, '--size', '96', '128', '--check-images', 'nowhere.jpg'])


def test_missing_package_is_named(arguments, monkeypatch):
    monkeypatch.setattr(builtins, '__import__', _without('mmmaskdino.export.exporter', 'onnx'))
    with pytest.raises(SystemExit, match=r'pip install "mmmaskdino\[export\]"'):
        run_command('export', arguments)


def _without(module, package):
    imported = builtins.__import__

    def without(name, *args):
        if name == module:
            raise ModuleNotFoundError(f"No module named '{package}'", name=package)
        return imported(name, *args)

    return without
