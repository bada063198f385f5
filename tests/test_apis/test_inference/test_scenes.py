"""Images in tiles, from files to result files."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mmmaskdino.apis import Failure, Limits, Predictor, predict_files
from mmmaskdino.apis.inference.scenes import MapFile, ScenePrediction, write_png
from mmmaskdino.cli.main import main
from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.panoptic_png import rgb_to_ids

SIZE = (330, 470)
EVERYTHING = ('pictures', 'instances', 'panoptic', 'semantic')


@pytest.fixture
def oracle(model_files: Callable[[str], tuple], scene_oracle: ModuleType) -> Callable[..., Predictor]:
    """A predictor whose model says the truth of scenes."""

    def make(**options) -> Predictor:
        predictor = Predictor(*model_files('panoptic'), device='cpu', **options)

        def test_step(data: dict) -> list:
            return [scene_oracle.true_sample(image.permute(1, 2, 0).numpy()) for image in data['inputs']]

        predictor.model.test_step = test_step
        return predictor

    return make


@pytest.fixture
def scene(scene_oracle: ModuleType) -> np.ndarray:
    return scene_oracle.draw_scene(SIZE, seed=5, first_stuff=6)


def test_result_files(oracle, scene: np.ndarray, tmp_path: Path) -> None:
    """Each object once, as it is, wherever the tiles lie."""
    cv2.imwrite(str(tmp_path / 'scene.png'), scene)
    out = tmp_path / 'out'
    seen = []
    predictor = oracle(tiles=128, overlap=0.2)
    predictor.on_tile = lambda *done: seen.append(done)
    summary = predict_files(predictor, tmp_path / 'scene.png', out, save=EVERYTHING, batch_size=4)
    assert (summary.num_done, summary.failures, summary.num_empty) == (1, [], 0)
    assert seen == [(4, 15), (8, 15), (12, 15), (15, 15)]
    numbers, labels = scene[..., 0], scene[..., 1]

    content = json.loads((out / 'instances.json').read_text())
    found = set()
    for annotation in content['annotations']:
        mask = coco_mask.decode(annotation['segmentation']).astype(bool)
        (number,) = np.unique(numbers[mask])
        assert np.array_equal(mask, numbers == number) and annotation['area'] == mask.sum()
        assert annotation['category_id'] == labels[mask][0] + 1
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert annotation['bbox'] == [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
        found.add(number)
    assert len(content['annotations']) == len(found) == len(np.unique(numbers[numbers > 0])) > 10

    ids = rgb_to_ids(np.asarray(Image.open(out / 'panoptic' / 'scene.png')))
    (annotation,) = json.loads((out / 'panoptic.json').read_text())['annotations']
    assert len(annotation['segments_info']) == len(found) + 2
    for segment in annotation['segments_info']:
        mask = ids == segment['id']
        assert segment['area'] == mask.sum() > 0
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert segment['bbox'] == [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
        label = segment['category_id'] - 1
        assert np.array_equal(mask, numbers == numbers[mask][0] if label < 6 else (numbers == 0) & (labels == label))
    assert np.array_equal(np.asarray(Image.open(out / 'semantic' / 'scene.png')), labels)
    assert Image.open(out / 'pictures' / 'scene.jpg').size == SIZE[::-1]


def test_from_python(oracle, scene: np.ndarray) -> None:
    """The same methods as for an image that is predicted whole, with the same results."""
    whole, tiles = oracle()(scene), oracle(tiles=150)(scene)
    assert isinstance(tiles, ScenePrediction) and tiles.kinds == whole.kinds and tiles.size == whole.size
    for kind in ('panoptic', 'instances', 'semantic'):
        assert tiles.summary(kind) == whole.summary(kind)
        assert tiles.draw(kind).shape == (*SIZE, 3) and tiles.draw(kind, 100).shape[1] == 100
        assert not np.array_equal(tiles.draw(kind), scene[..., ::-1])
    found, expected = (sorted(x.objects(), key=lambda one: (one['area'], one['box'])) for x in (tiles, whole))
    assert [(one['box'], one['segmentation']) for one in found] == [(x['box'], x['segmentation']) for x in expected]
    for kind in ('panoptic', 'semantic'):
        found, expected = (
            sorted(x.areas(kind, masks=True), key=lambda one: (one['label'], one['bbox'])) for x in (tiles, whole)
        )
        assert found == expected and len(found) > 2
    assert len(json.loads(tiles.to_json())['segments']) == len(json.loads(whole.to_json())['segments'])
    assert np.array_equal(tiles.labels(), whole.labels())
    assert np.array_equal(tiles.image, scene)


def test_many_objects_are_drawn_without_names(oracle, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the colours of their classes; nothing else changes."""
    monkeypatch.setattr('mmmaskdino.apis.inference.scenes.MANY', 1)
    prediction = oracle(tiles=150)(scene)
    colors = np.array(prediction.meta['palette'])
    for kind in ('instances', 'panoptic'):
        painted = prediction.draw(kind).astype(float)
        inside = cv2.erode((scene[..., 0] == 1).astype(np.uint8), np.ones((3, 3))) > 0
        expected = 0.5 * scene[inside][:, ::-1] + 0.5 * colors[scene[inside][:, 1]]
        assert np.abs(painted[inside] - expected).max() < 1
        ground = cv2.erode((scene[..., 0] == 0).astype(np.uint8), np.ones((5, 5))) > 0
        assert np.array_equal(painted[ground], scene[ground][:, ::-1]) == (kind == 'instances')


def test_a_large_scene_has_a_reduced_picture(oracle, monkeypatch: pytest.MonkeyPatch, scene: np.ndarray) -> None:
    monkeypatch.setattr('mmmaskdino.apis.inference.scenes.PICTURE_SIDE', 100)
    prediction = oracle(tiles=150)(scene)
    assert prediction.image.shape == (70, 100, 3)
    assert np.abs(prediction.image.astype(int) - cv2.resize(scene, (100, 70), interpolation=cv2.INTER_AREA)).mean() < 8
    assert all(prediction.draw(kind).shape == (70, 100, 3) for kind in prediction.kinds)


def test_what_is_wrong_with_one_image_leaves_the_others(oracle, scene: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / 'no.png').write_bytes(b'nothing')
    cv2.imwrite(str(tmp_path / 'yes.png'), scene)
    failure, prediction = oracle(tiles=200).predict([tmp_path / 'no.png', tmp_path / 'yes.png'])
    assert isinstance(failure, Failure) and 'not an image' in failure.reason
    assert len(prediction.segments().labels) > 10


def test_tiles_that_the_model_does_not_take(oracle, scene: np.ndarray) -> None:
    with pytest.raises(DataError, match='tiles of 200 x 200 pixels are larger than the model is given'):
        oracle(tiles=200, limits=Limits(reduce_above=0.02))(scene)
    with pytest.raises(ValueError, match='at least 32 pixels'):
        oracle(tiles=20)
    with pytest.raises(ValueError, match='a share in'):
        oracle(tiles=64, overlap=0.9)


@pytest.mark.parametrize('task', ['panoptic', 'detection', 'semantic'])
def test_the_command(
    model_files: Callable[[str], tuple], make_image: Callable[..., Path], tmp_path: Path, task
) -> None:
    """One tile is the image itself; with several there are results of the whole size."""
    image, results = make_image('in/a.png', (90, 120)), {}
    kinds = dict(panoptic=('instances', 'panoptic', 'semantic'), detection=('instances',), semantic=('semantic',))[task]
    config, weights = map(str, model_files(task))
    for name, options in dict(whole=[], one=['--tiles', '128'], four=['--tiles', '64', '--overlap', '0.1']).items():
        argv = ['predict', str(image), '--config', config, '--weights', weights, '--out', str(tmp_path / name)]
        argv += ['--device', 'cpu', '--save', 'pictures', *kinds, *options]
        if 'instances' in kinds:
            argv += ['--score-thr', '0.05', '--max-per-image', '9']
        assert main(argv) == 0
        files = sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob('*.*'))
        results[name] = {
            str(path): Image.open(tmp_path / name / path).tobytes()
            for path in files
            if path.suffix == '.png' and 'semantic' in str(path)
        }
        for path in (tmp_path / name).rglob('*.png'):
            assert Image.open(path).size == (120, 90)
    assert results['one'] == results['whole'] and set(results['four']) == set(results['one'])
    if 'instances' in kinds:
        whole, one = (
            json.loads((tmp_path / name / 'instances.json').read_text())['annotations'] for name in ('whole', 'one')
        )
        assert [x['category_id'] for x in one] == [x['category_id'] for x in whole] and len(one) > 1
        assert [x.get('segmentation') for x in one] == [x.get('segmentation') for x in whole]
        assert np.allclose([x['bbox'] for x in one], [x['bbox'] for x in whole])


@pytest.mark.parametrize('options', [['--overlap', '0.3'], ['--tiles', '8'], ['--tiles', '64', '--overlap', '1']])
def test_options_that_cannot_be(make_image: Callable[..., Path], options: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(['predict', str(make_image('a.png')), *options])
    assert '--tiles' in str(stop.value.code) or '--overlap' in str(stop.value.code)


@pytest.mark.parametrize(('shape', 'dtype'), [((70, 50), np.uint8), ((70, 50), np.uint16), ((70, 50, 3), np.uint8)])
def test_png_in_strips(tmp_path: Path, shape: tuple, dtype: type) -> None:
    pixels = np.random.default_rng(0).integers(np.iinfo(dtype).max, size=shape, dtype=dtype)
    write_png(tmp_path / 'a.png', shape[:2], (pixels[top : top + 16] for top in range(0, 70, 16)))
    assert np.array_equal(np.asarray(Image.open(tmp_path / 'a.png')), pixels)


def test_a_full_disk_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no end of the process, as writing to a map of a file without room would be."""

    def full(*args: int) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'posix_fallocate', full)
    with pytest.raises(DataError, match=r'1000 x 2000 pixels needs 8 MB .*No space left on device.*TMPDIR'):
        MapFile((2000, 1000), np.int32)


def test_maps_in_files_keep_their_values() -> None:
    file = MapFile((1000, 30), np.int32)
    assert not file.array.any()
    file.array[:] = np.arange(30000).reshape(1000, 30)
    file.release()
    assert np.array_equal(np.concatenate(list(file.strips())), np.arange(30000).reshape(1000, 30))
