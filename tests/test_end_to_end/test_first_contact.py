"""What a newcomer types, from the first photograph to a model of one's own, and what comes of it.

In the order of the documents. Details of each command are in the tests of its module.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torch import nn

from mmmaskdino.apis import Failure, Predictor
from mmmaskdino.cli.main import main
from mmmaskdino.datasets.shapes import METAINFO, make_shapes_dataset


class Home(NamedTuple):
    """The newcomer's folder."""

    path: Path
    config: str
    weights: str

    @property
    def model(self) -> list[str]:
        """The model, as it is typed."""
        return ['--config', self.config, '--weights', self.weights]


@pytest.fixture(scope='module')
def home(
    tmp_path_factory: pytest.TempPathFactory,
    project_root: Path,
    shrink: Callable[[Config], Config],
    make_model: Callable[..., nn.Module],
) -> Home:
    """A dataset, photographs, and the work directory of a training of a tiny model."""
    path = tmp_path_factory.mktemp('home')
    data = make_shapes_dataset(path / 'data', 2, 2, size=64, progress=False)
    (path / 'photos' / 'beach').mkdir(parents=True)
    for source, name in zip(sorted((data / 'val').iterdir()), ('a.jpg', 'beach/b.jpg'), strict=False):
        (path / 'photos' / name).write_bytes(source.read_bytes())
    (path / 'photos' / 'notes.txt').write_text('a.jpg\n')
    cfg = shrink(Config.fromfile(project_root / 'configs' / 'maskdino' / 'maskdino_r18_shapes_panoptic.py'))
    for name in ('train', 'val', 'test'):
        cfg[f'{name}_dataloader'].dataset.data_root = f'{data}/'
    run = path / 'work_dirs' / 'pets'
    run.mkdir(parents=True)
    cfg.dump(run / 'pets.py')
    torch.manual_seed(2)
    model = make_model(cfg, noise=0.2)
    nn.init.normal_(model.panoptic_head.heads.classify.weight, std=0.5)
    nn.init.zeros_(model.panoptic_head.heads.classify.bias)
    meta = dict(dataset_meta=dict(classes=METAINFO['classes'], palette=METAINFO['palette']))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), run / 'iter_10.pth')
    return Home(path, 'work_dirs/pets/pets.py', 'work_dirs/pets/iter_10.pth')


@pytest.fixture(autouse=True)
def _at_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home.path)
    monkeypatch.setenv('MMMASKDINO_HOME', str(home.path / 'cache'))


@pytest.fixture
def typed(capsys: pytest.CaptureFixture) -> Callable[..., tuple[int | str, str, str]]:
    """Types a command: its status or message, what it printed, and its notes."""

    def run(*words: object) -> tuple[int | str, str, str]:
        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as stop:
            status = stop.code
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture(scope='module')
def web(home: Home) -> Iterator[str]:
    """The folder as a web site."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args, **options) -> None:
            super().__init__(*args, directory=str(home.path), **options)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_photograph_alone(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model has a name; without network there is a message with its address, not a trace."""
    monkeypatch.setenv('MMMASKDINO_OFFLINE', '1')
    status, _, _ = typed('predict', 'photos/a.jpg')
    assert 'https://' in status and 'Traceback' not in status
    assert typed('configs')[0] == 0 and typed('models')[0] == 0


def test_a_work_directory_and_names(home: Home, typed) -> None:
    status, printed, _ = typed('predict', 'photos/a.jpg', '--model', 'work_dirs/pets', '--out', 'by_folder')
    assert status == 0 and printed.startswith('a.jpg: ')
    status, _, _ = typed('predict', 'photos', '--config', 'maskdino_r18_shapes_panoptik', '--weights', 'x.pth')
    assert 'x.pth does not exist' in status
    status, _, _ = typed('predict', 'photos', '--config', 'maskdino_r18_shapes_panoptik', *home.model[2:])
    assert 'did you mean maskdino_r18_shapes_panoptic' in status


def test_the_command_is_quiet(home: Home, project_root: Path) -> None:
    """Nothing is printed but what was found, whatever the packages underneath have to say."""
    script = 'import sys, mmmaskdino_cli; sys.exit(mmmaskdino_cli.main())'
    words = ['predict', 'photos', *home.model, '--out', 'quiet', '--device', 'cpu']
    done = subprocess.run(
        [sys.executable, '-c', f'import sys; sys.path.insert(0, {str(project_root)!r}); {script}', *words],
        capture_output=True,
        text=True,
        cwd=home.path,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [re.sub(r': .*; \d+\.\d+ s -> ', ' ', line) for line in lines[:2]] == [
        'a.jpg quiet/pictures/a.jpg',
        'beach/b.jpg quiet/pictures/beach/b.jpg',
    ]
    assert lines[2:] == ['2 image(s) done, 0 failed; results in quiet']
    assert all(line.startswith('note: ') for line in done.stderr.splitlines()), done.stderr


def test_sources_of_every_kind(home: Home, typed, web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.path / 'list.txt').write_text(f'photos/a.jpg\n{web}/photos/a.jpg\n')
    pipe = io.TextIOWrapper(io.BytesIO((home.path / 'photos' / 'a.jpg').read_bytes()))
    monkeypatch.setattr(sys, 'stdin', pipe)
    writer = cv2.VideoWriter('film.avi', cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 64))
    writer.write(np.full((64, 64, 3), 99, np.uint8))
    writer.release()
    sources = ['photos/a.jpg', 'photos/*/*.jpg', 'list.txt', '-', 'film.avi']
    status, printed, _ = typed('predict', *sources, *home.model, '--out', 'sources')
    assert status == 0 and '5 image(s) done, 0 failed' in printed
    written = (path for path in Path('sources/pictures').rglob('*') if path.is_file())
    results = {path.relative_to('sources/pictures').as_posix() for path in written}
    local = {'photos/a.jpg', 'photos/beach/b.jpg', 'stdin.jpg', 'film.mp4'}
    assert results == local | {'127.0.0.1/photos/a.jpg'}
    for wrong in ('photo.jpg', '*.tiff'):
        assert wrong in typed('predict', wrong, *home.model)[0]


def test_results_that_are_there(home: Home, typed) -> None:
    words = ['predict', 'photos/a.jpg', *home.model, '--save', 'pictures', 'instances', '--score-thr', '0.1']
    assert typed(*words, '--out', 'twice')[0] == 0
    assert '--overwrite' in typed(*words[:-1], '0.2', '--out', 'twice')[0]
    assert typed(*words, '--out', 'twice', '--overwrite')[0] == 0
    assert 'notes.txt is a file' in typed(*words, '--out', 'photos/notes.txt')[0]


def test_nothing_found_is_said(home: Home, typed) -> None:
    words = ['--save', 'instances', '--score-thr', '1', '--out', 'nothing']
    status, printed, notes = typed('predict', 'photos/a.jpg', *home.model, *words)
    assert status == 0 and printed.startswith('a.jpg: 0 objects; ') and '--score-thr' in notes


def test_what_is_typed_wrong(home: Home, typed) -> None:
    words = ['predict', 'photos', *home.model, '--out', 'wrong']
    for device, message in (('mps', 'not on this machine'), ('gpu', 'expected cpu, cuda'), ('99', 'not on this')):
        assert message in typed(*words, '--device', device)[0]
    status, _, _ = typed(*words, '--cfg-options', 'model.panoptic_head.decoder.num_layer=2')
    assert 'did you mean num_layers' in status
    status, _, _ = typed(*words, '--cfg-options', 'modle.panoptic_head.decoder.num_layers=2')
    assert 'did you mean model?' in status
    assert 'which have no score_thr' in typed(*words, '--save', 'semantic', '--score-thr', '0.5')[0]


def test_from_python(home: Home) -> None:
    predictor = Predictor(home.config, home.weights, device='cpu', score_thr=0.1)
    photo = Image.open('photos/a.jpg')
    tensor = torch.from_numpy(np.array(photo)).permute(2, 0, 1)
    results = [predictor(source) for source in ('photos/a.jpg', photo, np.array(photo)[..., ::-1], tensor)]
    assert len({result.summary() for result in results}) == 1
    (first, second), mixed = predictor('photos'), predictor([photo, 'missing.jpg'])
    assert repr(first).startswith('<Prediction photos/a.jpg, 64 x 64: ') and len(repr(second)) < 300
    assert isinstance(mixed[1], Failure) and mixed[1].name == 'missing.jpg'
    with pytest.raises(TypeError, match='expected a path, pattern .*got float'):
        predictor(3.5)
    assert first.names == METAINFO['classes']
    assert Image.open(first.save('saved.png')).size == (64, 64)
    assert len(json.loads(first.to_json())['instances']) == len(first.to_pandas())
    assert first._repr_png_().startswith(b'\x89PNG')
    with pytest.raises(ValueError, match='banana cannot be drawn'):
        predictor.draw(first, 'banana')


def test_test_time_augmentation(home: Home, typed) -> None:
    words = ['predict', 'photos/a.jpg', *home.model, '--tta', '--tta-scales', '1', '--tta-flips', 'horizontal']
    assert typed(*words, '--out', 'tta')[0] == 0


def test_tools_from_a_wheel(home: Home, typed) -> None:
    assert typed('draw', home.config, home.weights, 'drawn', '--num', '1')[0] == 0
    assert Path('drawn/contact_sheet.png').is_file()


def test_own_data(home: Home, typed) -> None:
    """A config that another machine understands, small where the images are."""
    assert typed('data', 'config', 'data', '--kind', 'instance', '--out', 'own.py', '--small')[0] == 0
    text = Path('own.py').read_text()
    assert "'/" not in text.split('data_root')[0] and Config.fromfile('own.py').model.type == 'MaskDINO'
    assert '--overwrite' in typed('data', 'config', 'data', '--kind', 'instance', '--out', 'own.py')[0]


def test_what_is_installed(typed) -> None:
    _, printed, _ = typed('doctor')
    for package in ('gradio', 'tensorboard', 'wandb', 'pandas', 'supervision'):
        assert package in printed


def test_an_exported_model(home: Home, typed) -> None:
    words = ['export', *home.model, '--out', 'model.onnx', '--size', '64', '64', '--check', 'onnxruntime']
    status, _, _ = typed(*words)
    assert status == 0
    status, printed, _ = typed('predict', 'photos', '--weights', 'model.onnx', '--out', 'onnx')
    assert status == 0 and '2 image(s) done' in printed
