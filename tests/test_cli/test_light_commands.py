"""Commands that work with files alone do not import what models need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mmmaskdino.datasets.shapes import make_shapes_dataset

RUN = """
import sys
import mmmaskdino_cli
sys.argv = ['mmmaskdino', *sys.argv[1:]]
status = mmmaskdino_cli.main()
heavy = {'torch', 'mmdet.models', 'mmseg'} & set(sys.modules)
assert not heavy, heavy
sys.exit(status)
"""


@pytest.mark.parametrize(
    'command',
    [
        ['check', '{data}', '--picture', '{out}.png'],
        ['config', '{data}', '--out', '{out}.py', '--kind', 'panoptic', '--base', '{base}'],
        ['split', '{data}/annotations/instances_train.json', '--out', '{out}'],
    ],
)
def test_data_commands_import_no_torch(project_root: Path, tmp_path: Path, command: list[str]) -> None:
    data = make_shapes_dataset(tmp_path / 'data', 4, 2, size=32, progress=False)
    base = project_root / 'configs' / 'maskdino' / 'maskdino_r18_shapes_panoptic.py'
    arguments = [part.format(data=data, out=tmp_path / 'out', base=base) for part in command]
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', RUN, 'data', *arguments],
        cwd=project_root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
