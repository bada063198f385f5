"""The command that serves the page."""

import builtins

import gradio as gr
import pytest

from mmmaskdino.page.__main__ import main


@pytest.fixture
def arguments(make_predictor, tmp_path, monkeypatch):
    """`--config` and `--weights` of a model, which is not built again."""
    predictor = make_predictor()
    monkeypatch.setattr('mmmaskdino.apis.inference.Predictor', lambda *args, **options: predictor)
    return ['--config', str(tmp_path / 'maskdino_test.py'), '--weights', 'weights.pth']


def test_serves_this_machine_alone_by_default(arguments, monkeypatch):
    launched = {}
    monkeypatch.setattr(gr.Blocks, 'launch', lambda self, **options: launched.update(options, title=self.title))
    assert main([*arguments, '--port', '8000']) == 0
    assert launched['server_name'] == '127.0.0.1' and launched['server_port'] == 8000
    assert launched['share'] is False and launched['max_file_size'] == '30mb'
    assert launched['title'] == 'Mask DINO: maskdino_test'


def test_missing_config(capsys):
    assert main(['--config', 'nowhere.py', '--weights', 'nowhere.pth']) == 1
    assert 'page: config file nowhere.py does not exist' in capsys.readouterr().err


def test_missing_gradio(arguments, capsys, monkeypatch):
    imported = builtins.__import__

    def without_gradio(name, *args):
        if name == 'app':
            raise ModuleNotFoundError("No module named 'gradio'", name='gradio')
        return imported(name, *args)

    monkeypatch.setattr(builtins, '__import__', without_gradio)
    assert main(arguments) == 1
    assert 'pip install "mmmaskdino[page]"' in capsys.readouterr().err
