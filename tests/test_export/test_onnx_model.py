"""An exported file predicts what the model predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from PIL import Image

from mmmaskdino.apis import Predictor
from mmmaskdino.cli.main import main
from mmmaskdino.export.check import RUNTIMES
from mmmaskdino.export.exporter import export_onnx


@pytest.fixture(scope='module')
def exported(small_config, make_clear_model, tmp_path_factory):
    """Of a kind of model: config, weights and the exported file; made once."""
    known = {}

    def make(kind: str, outputs: str, size: tuple[int, int] | None = None) -> tuple:
        if (kind, outputs, size) not in known:
            folder = tmp_path_factory.mktemp(kind)
            cfg = small_config(kind)
            model = make_clear_model(cfg)
            meta = dict(dataset_meta=dict(classes=list(model.dataset_meta['classes'])))
            torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'model.pth')
            export_onnx(model, cfg, folder / 'model.onnx', outputs, size=size, runtimes=[])
            known[kind, outputs, size] = (cfg, folder / 'model.pth', folder / 'model.onnx')
        return known[kind, outputs, size]

    return make


def photo(size: tuple[int, int]) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(255, size=(5, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


@pytest.mark.parametrize('outputs', ['raw', 'results'])
@pytest.mark.parametrize('kind', ['panoptic', 'detection'])
def test_the_same_as_the_model(exported, kind: str, outputs: str) -> None:
    """Of an image that needs padding, but no resizing, whose pixels would differ a little."""
    cfg, weights, file = exported(kind, outputs)
    cfg.test_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile'), dict(type='mmdet.PackDetInputs')]
    image = photo((75, 100))
    expected = Predictor(cfg, weights, device='cpu', score_thr=0.0)(image)
    predictor = Predictor(file, score_thr=0.0)
    predictor.model.metadata['resize'] = None
    assert repr(predictor).startswith('<Predictor model: ') and set(predictor.kinds) >= set(expected.kinds)
    found = predictor(image)
    assert found.size == (75, 100) and found.names == tuple(expected.meta['classes'])
    for key in ('scores', 'bboxes', 'labels'):
        ours, theirs = found.sample.pred_instances[key], expected.sample.pred_instances[key]
        assert len(theirs) >= 5
        assert torch.allclose(ours[: len(theirs)].float(), theirs.float(), atol=2e-2 if key == 'bboxes' else 1e-3), key
    if kind == 'panoptic':
        masks, wanted = (sample.pred_instances.masks for sample in (found.sample, expected.sample))
        assert (masks[: len(wanted)] == wanted).float().mean() > 0.99
        for field in ('pred_panoptic_seg', 'pred_sem_seg'):
            same = found.sample.get(field).sem_seg == expected.sample.get(field).sem_seg
            assert same.float().mean() > 0.99, field
        assert found.draw('panoptic').shape == (75, 100, 3)


@pytest.mark.parametrize('outputs', ['raw', 'results'])
def test_thresholds_and_kinds(exported, outputs: str) -> None:
    file = exported('panoptic', outputs)[2]
    assert Predictor(file, kinds=['semantic'])(photo((40, 50))).kinds == ('semantic',)
    everything = Predictor(file, score_thr=0.0)(photo((40, 50))).sample.pred_instances
    threshold = everything.scores[3].item()
    few = Predictor(file, score_thr=threshold)(photo((40, 50))).sample.pred_instances
    assert 0 < len(few) < len(everything) and few.scores.min() >= threshold
    if outputs == 'results':
        with pytest.raises(ValueError, match='exported with results, which have overlap_thr inside'):
            Predictor(file, overlap_thr=0.5)


def test_settings_tell_files_apart(exported) -> None:
    """By which an interrupted run knows that it goes on with the same model."""
    raw, results = (exported('panoptic', outputs)[2] for outputs in ('raw', 'results'))
    assert Predictor(raw).settings() == Predictor(raw).settings() != Predictor(results).settings()
    with pytest.raises(ValueError, match='no --compile'):
        Predictor(raw).compile()


def test_a_fixed_size(exported) -> None:
    """Photographs of either orientation are fitted into it."""
    predictor = Predictor(exported('panoptic', 'raw', (64, 96))[2])
    for size in ((80, 50), (50, 80), (300, 20)):
        assert predictor(photo(size)).sample.pred_sem_seg.sem_seg.shape == (1, *size)
    resized = predictor.model.resize(dict(img=photo((80, 50))))['img']
    assert resized.flags.writeable, 'torch warns of arrays that are not'


def test_what_cannot_be(exported, tmp_path: Path) -> None:
    file = exported('detection', 'raw')[2]
    with pytest.raises(ValueError, match='gives instances, no panoptic'):
        Predictor(file, kinds=['panoptic'])
    with pytest.raises(ValueError, match='no --tta, --cfg-options'):
        Predictor(file, tta=True)
    model = onnx.load(str(file))
    del model.metadata_props[:]
    onnx.save(model, str(tmp_path / 'other.onnx'))
    with pytest.raises(ValueError, match='was not exported by mmmaskdino'):
        Predictor(tmp_path / 'other.onnx')
    (tmp_path / 'text.onnx').write_text('no model')
    with pytest.raises(ValueError, match='text.onnx cannot be read as an ONNX file'):
        Predictor(tmp_path / 'text.onnx')


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Names of the runtimes that open files from now on."""
    names = []
    for name, open_file in list(RUNTIMES.items()):
        monkeypatch.setitem(RUNTIMES, name, lambda path, name=name, run=open_file: names.append(name) or run(path))
    return names


def test_the_runtime_can_be_chosen(exported, opened) -> None:
    file = exported('panoptic', 'raw')[2]
    ours, theirs = (Predictor(file, score_thr=0.0, runtime=name)(photo((64, 96))) for name in RUNTIMES)
    assert opened == ['onnxruntime', 'openvino']
    assert torch.allclose(ours.sample.pred_instances.scores, theirs.sample.pred_instances.scores, atol=1e-3)
    with pytest.raises(ValueError, match='is onnxruntime or openvino, got tensorrt'):
        Predictor(file, runtime='tensorrt')
    with pytest.raises(ValueError, match=r'runs files of mmmaskdino export \(.onnx\), and .*model.pth is none'):
        Predictor(*exported('panoptic', 'raw')[:2], runtime='openvino')


def test_a_runtime_that_is_not_installed(exported, opened, monkeypatch) -> None:
    """The other one is taken, unless it was asked for."""
    file = exported('panoptic', 'raw')[2]

    def fail(path: Path) -> None:
        raise ModuleNotFoundError('no such module', name='onnxruntime')

    Predictor(file)
    monkeypatch.setitem(RUNTIMES, 'onnxruntime', fail)
    Predictor(file)
    assert opened == ['onnxruntime', 'openvino']
    with pytest.raises(ValueError, match='needs onnxruntime, not installed here: pip install'):
        Predictor(file, runtime='onnxruntime')


def test_runtimes_work_in_as_many_threads_as_torch(exported, monkeypatch) -> None:
    told = []
    open_session, compile_model = onnxruntime.InferenceSession, openvino.Core.compile_model

    def session(path, options, **more):
        told.append(options.intra_op_num_threads)
        return open_session(path, options, **more)

    def compiled(core, path, device, options):
        told.append(options['INFERENCE_NUM_THREADS'])
        return compile_model(core, path, device, options)

    monkeypatch.setattr(onnxruntime, 'InferenceSession', session)
    monkeypatch.setattr(openvino.Core, 'compile_model', compiled)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 3)
    for runtime in RUNTIMES:
        Predictor(exported('panoptic', 'raw')[2], runtime=runtime)
    assert told == [3, 3]


@pytest.mark.parametrize(
    ('options', 'runtime'), [(['--weights'], 'onnxruntime'), (['--runtime', 'openvino', '--model'], 'openvino')]
)
def test_the_command(
    exported, tmp_path: Path, capsys: pytest.CaptureFixture, opened, options: list[str], runtime: str
) -> None:
    file = exported('panoptic', 'raw')[2]
    Image.fromarray(photo((40, 50))).save(tmp_path / 'a.png')
    argv = ['predict', str(tmp_path / 'a.png'), *options, str(file), '--out', str(tmp_path / 'out')]
    assert main([*argv, '--save', 'pictures', 'panoptic', 'instances']) == 0
    assert opened == [runtime]
    assert capsys.readouterr().out.startswith('a.png: ')
    assert (tmp_path / 'out' / 'pictures' / 'a.jpg').is_file() and (tmp_path / 'out' / 'panoptic.json').is_file()
