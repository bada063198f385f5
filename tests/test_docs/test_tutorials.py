"""The notebooks run from the first cell to the last, in a new folder, with few images and iterations."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / 'docs' / 'tutorials'
# In this order: the first trains the model that the others look at.
NAMES = ['own_data', 'results', 'explanation']
# What is smaller in the tests: a line of a notebook, and what it becomes. A model of ten iterations is sure of nothing.
CHANGES = {
    'own_data': {'NUM_IMAGES = 2000': 'NUM_IMAGES = 40', 'ITERATIONS = 1000': 'ITERATIONS = 10'},
    'results': {'SCORE_THR = 0.3': 'SCORE_THR = 0.0'},
    'explanation': {},
}
# How many of the cells show a picture or a table.
SHOWN = {
    'own_data': {'image/png': 1, 'image/jpeg': 1},
    'results': {'image/png': 2, 'text/html': 2},
    'explanation': {'image/png': 3},
}


def read(name: str) -> dict:
    return json.loads((FOLDER / f'{name}.ipynb').read_text(encoding='utf-8'))


def test_all_notebooks_are_run() -> None:
    assert {path.stem for path in FOLDER.glob('*.ipynb')} == set(NAMES) == set(CHANGES) == set(SHOWN)


@pytest.mark.parametrize('name', NAMES)
def test_nothing_of_a_run_is_stored(name: str) -> None:
    cells = [cell for cell in read(name)['cells'] if cell['cell_type'] == 'code']
    assert cells and all(cell['outputs'] == [] and cell['execution_count'] is None for cell in cells)


@pytest.mark.slow
def test_run(project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from nbclient import NotebookClient

    # The kernel of this interpreter, whatever others are installed, and the commands beside it.
    monkeypatch.setenv('JUPYTER_PATH', str(tmp_path / 'no_kernels'))
    monkeypatch.setenv('PATH', f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.setenv('PYTHONPATH', str(project_root))
    monkeypatch.setenv('PYTHONWARNINGS', 'ignore')
    assert KernelSpecManager().get_kernel_spec('python3').argv[0] in ('python', sys.executable)
    for name in NAMES:
        text = (FOLDER / f'{name}.ipynb').read_text(encoding='utf-8')
        for line, change in CHANGES[name].items():
            assert text.count(line) == 1, line
            text = text.replace(line, change)
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
        NotebookClient(notebook, timeout=600, resources={'metadata': {'path': str(tmp_path)}}).execute()
        outputs = [output for cell in notebook.cells for output in cell.get('outputs', [])]
        printed = ''.join(output.get('text', '') for output in outputs)
        for kind, number in SHOWN[name].items():
            assert sum(kind in output.get('data', {}) for output in outputs) >= number, (name, kind, printed)
        assert 'Traceback' not in printed and 'error:' not in printed, printed
    assert len(json.loads((tmp_path / 'results' / 'instances.json').read_text())['images']) == 4
