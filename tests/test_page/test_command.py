"""The command that serves the page."""

import builtins

import gradio as gr
import pytest

from mmmaskdino.cli.main import run_command


@pytest.fixture
def arguments(make_predictor, tmp_path, monkeypatch):
    """`--config` and `--weights` of a model, which is not built again."""
    predictor = make_predictor()
    monkeypatch.setattr('mmmaskdino.apis.inference.Predictor', lambda *args, **options: predictor)
    for name in ('maskdino_test.py', 'weights.pth'):
        (tmp_path / name).touch()
    return ['--config', str(tmp_path / 'maskdino_test.py'), '--weights', str(tmp_path / 'weights.pth')]


def test_serves_this_machine_alone_by_default(arguments, monkeypatch):
    launched = {}
    monkeypatch.setattr(gr.Blocks, 'launch', lambda self, **options: launched.update(options, title=self.title))
    assert run_command('page', [*arguments, '--port', '8000']) == 0
    assert launched['server_name'] == '127.0.0.1' and launched['server_port'] == 8000
    assert launched['share'] is False and launched['max_file_size'] == '30mb'
    assert launched['title'] == 'Mask DINO: maskdino_test'


def test_missing_config():
    with pytest.raises(SystemExit, match='page: config file nowhere.py does not exist'):
        run_command('page', ['--config', 'nowhere.py', '--weights', __file__], 'page')


def test_a_limit_that_lets_nothing_in(arguments):
    with pytest.raises(SystemExit, match='--max-megapixels must be above 0, got nan'):
        run_command('page', [*arguments, '--max-megapixels', 'nan'])


def test_missing_gradio(arguments, monkeypatch):
    imported = builtins.__import__

    def without_gradio(name, *args):
        if name == 'mmmaskdino.page.app':
            raise ModuleNotFoundError("No module named 'gradio'", name='gradio')
        return imported(name, *args)

    monkeypatch.setattr(builtins, '__import__', without_gradio)
    with pytest.raises(SystemExit, match=r'pip install "mmmaskdino\[page\]"'):
        run_command('page', arguments)
