"""Commands that work with files alone do not import what models need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

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
        ['config', '{data}', '--out', '{out}.py', '--small'],
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


@pytest.mark.parametrize('command', ['models', 'configs'])
def test_a_list_of_which_the_reader_has_enough(project_root: Path, command: str) -> None:
    """As in `mmmaskdino configs | head -1`: the status says so, nothing else does."""
    listing = subprocess.Popen(
        [sys.executable, '-u', '-c', RUN, command],
        cwd=project_root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    listing.stdout.close()
    assert listing.stderr.read() == '' and listing.wait() == 141


@pytest.mark.parametrize('command', [['models'], ['configs']])
def test_lists_import_no_torch(project_root: Path, command: list[str]) -> None:
    done = subprocess.run([sys.executable, '-c', RUN, *command], cwd=project_root, capture_output=True, text=True)
    assert done.returncode == 0 and 'maskdino_r50_coco_panoptic' in done.stdout and done.stderr == '', done.stderr


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        (
            ['predict', '{data}', '--config', 'no.py', '--weights', '{base}', '--out', '{out}'],
            'file no.py does not exist',
        ),
        (['predict', '{data}', '--config', '{base}', '--weights', 'no.pth', '--out', '{out}'], 'no.pth does not exist'),
        (['predict', 'no.jpg', '--config', '{base}', '--weights', '{base}', '--out', '{out}'], 'no.jpg: no such file'),
        (
            ['predict', '{data}', '--config', '{base}', '--weights', '{base}', '--out', '{out}', '--device', 'gpu'],
            '--device gpu: expected cpu, cuda, the number of a GPU',
        ),
        (['predict', '{data}', '--model', 'maskdino_r50_coco_panoptik', '--out', '{out}'], 'did you mean maskdino_r50'),
        (['train', '{base}', '--load-from', 'maskdino_r50_coco'], 'did you mean maskdino_r50_coco_panoptic'),
        (['models', 'path', 'maskdino_r50_coco_panoptic'], 'fetch it with: mmmaskdino models fetch'),
        (['models', 'fetch', 'maskdino_r50_coco'], 'did you mean maskdino_r50_coco_panoptic'),
        (['train', '{base}s'], 'did you mean maskdino_r18_shapes_panoptic.py'),
        (['test', '{base}', 'no.pth'], 'no.pth does not exist'),
        (['export', '--config', '{base}', '--weights', 'no.pth', '--out', '{out}'], 'no.pth does not exist'),
        (['page', '--config', 'no.py', '--weights', '{base}'], 'no.py does not exist'),
    ],
)
def test_what_is_typed_wrong_is_said_before_torch_is_imported(
    project_root: Path, tmp_path: Path, command: list[str], message: str
) -> None:
    Image.new('L', (8, 8)).save(tmp_path / 'a.png')
    base = project_root / 'configs' / 'maskdino' / 'maskdino_r18_shapes_panoptic.py'
    arguments = [part.format(data=tmp_path, out=tmp_path / 'out', base=base) for part in command]
    run = RUN.replace('status = ', 'try: ').replace(
        '.main()', '.main()\nexcept SystemExit as error: status = error.code', 1
    )
    done = subprocess.run([sys.executable, '-c', run, *arguments], cwd=project_root, capture_output=True, text=True)
    assert done.returncode == 1 and message in done.stderr and 'Traceback' not in done.stderr, done.stderr
    assert done.stdout == '' and len(done.stderr.splitlines()) == 1
