"""Prediction in actors of Ray; on this machine alone."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmmaskdino.apis import Predictor, predict_files
from mmmaskdino.apis.inference import ray_data
from mmmaskdino.datasets.files import DataError

OPTIONS = dict(score_thr=0.0, max_per_image=3)
KINDS = ('instances', 'panoptic')


class DyingPredictor(ray_data.RayPredictor):
    """The first that gets an image ends its process."""

    def __call__(self, batch: dict[str, np.ndarray]):
        try:
            Path(os.environ['DYING_MARK']).touch(exist_ok=False)
        except FileExistsError:
            return super().__call__(batch)
        os._exit(1)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, project_root: Path) -> Iterator[None]:
    """Two CPUs of this machine."""
    ray = pytest.importorskip('ray', reason='the extra ray is not installed')
    pytest.importorskip('pyarrow', reason='the extra ray is not installed', exc_type=ImportError)
    python_path = os.pathsep.join([str(project_root), os.environ.get('PYTHONPATH', '')])
    variables = dict(DYING_MARK=str(tmp_path / 'mark'), OMP_NUM_THREADS='1', PYTHONPATH=python_path)
    monkeypatch.setenv('RAY_USAGE_STATS_ENABLED', '0')
    monkeypatch.setenv('HOME', str(tmp_path))  # where Ray writes its token
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the actors cannot import this module
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200_000_000,
        runtime_env=dict(env_vars=variables),
        _temp_dir=f'/tmp/ray-of-{os.getpid()}',  # the names of its sockets must be short
    )
    yield
    ray.shutdown()
    shutil.rmtree(f'/tmp/ray-of-{os.getpid()}', ignore_errors=True)


def read(folder: Path) -> dict[str, dict]:
    import pyarrow.dataset

    return {row['file_name']: row for row in pyarrow.dataset.dataset(folder, format='parquet').to_table().to_pylist()}


@pytest.mark.slow
def test_two_actors_one_of_which_dies(cluster, model_files, make_image, tmp_path: Path, monkeypatch) -> None:
    """The results are those of one process, image for image, and a broken image is recorded."""
    for number in range(12):
        make_image(f'in/{number}.png', (40, 50))
    (tmp_path / 'in' / 'broken.png').write_text('no image')
    files = model_files('panoptic')
    model, weights = str(files.config), str(files.weights)
    monkeypatch.setattr(ray_data, 'RayPredictor', DyingPredictor)
    failures = ray_data.predict_with_ray(
        tmp_path / 'in', str(tmp_path / 'ray'), model, weights, KINDS, actors=2, **OPTIONS
    )
    assert (tmp_path / 'mark').exists()
    assert [failure.name for failure in failures] == ['broken.png']
    assert 'not an image that can be read' in failures[0].reason
    predictor = Predictor(model, weights, device='cpu', kinds=KINDS, **OPTIONS)
    predict_files(predictor, tmp_path / 'in', tmp_path / 'one', save=KINDS, result_format='parquet')
    found, wanted = read(tmp_path / 'ray'), read(tmp_path / 'one')
    assert len(found) == 13 and found.keys() == wanted.keys()
    for name in found.keys() - {'broken.png'}:
        assert found[name] == wanted[name]


def test_what_ray_does_not_do(make_image, tmp_path: Path) -> None:
    pytest.importorskip('ray', reason='the extra ray is not installed')
    image = make_image('in/a.png')
    with pytest.raises(FileExistsError, match='is not empty; choose another folder'):
        ray_data.predict_with_ray(image, str(tmp_path / 'in'), 'model')
    (tmp_path / 'film.mp4').touch()
    with pytest.raises(DataError, match=r'film.mp4: videos are not shared out by Ray'):
        ray_data.predict_with_ray(tmp_path / 'film.mp4', str(tmp_path / 'out'), 'model')


def test_files_that_cannot_be_read_are_rows(model_files, make_image, tmp_path: Path) -> None:
    """What the tasks and actors do, without Ray."""
    pytest.importorskip('pyarrow', reason='the extra ray is not installed', exc_type=ImportError)
    import pickle

    from mmmaskdino.apis.inference.sources import ImageFile

    paths = [make_image('a.png'), tmp_path / 'gone.png']
    batch = dict(file=np.array([pickle.dumps(ImageFile(path, path.name, path.stem)) for path in paths], dtype=object))
    read_batch = ray_data._read(batch, 1_000_000)
    assert bytes(read_batch['content'][0]) == paths[0].read_bytes()
    files = model_files('panoptic')
    predictor = ray_data.RayPredictor(str(files.config), str(files.weights), KINDS, device='cpu', **OPTIONS)
    rows = predictor(read_batch).to_pylist()
    assert len(rows[0]['instances']) == 3 and rows[0]['error'] is None
    assert 'gone.png' in rows[1]['error'] and rows[1]['instances'] is None
    assert ray_data._read(batch, 10)['error'][0].endswith('no image within the limits')
