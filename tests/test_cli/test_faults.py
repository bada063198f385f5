"""Which errors are told in a line, and which need their traceback."""

from __future__ import annotations

import importlib
import re
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS, MODELS, DefaultScope
from torch.utils.data import DataLoader, Dataset

from mmmaskdino.apis import Predictor, load_config
from mmmaskdino.apis.launch import build_runner
from mmmaskdino.cli.faults import explain, faults_as_messages
from mmmaskdino.cli.messages import CommandError
from mmmaskdino.datasets.files import DataError, read_file
from mmmaskdino.datasets.shapes import make_shapes_dataset
from mmmaskdino.engine import NonFiniteHook


class Faulty(Dataset):
    def __init__(self, work) -> None:
        self.work = work

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        self.work()


def raise_bug() -> None:
    raise ValueError('of a program')


def error_of(work, *args, **kwargs) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any kind
        work(*args, **kwargs)
    return caught.value


@pytest.mark.parametrize('num_workers', [0, 1])
def test_what_the_package_raises_is_for_people(num_workers: int) -> None:
    """With or without a worker between, from which torch hands on a text of traces."""
    error = error_of(lambda: next(iter(DataLoader(Faulty(lambda: read_file('none.jpg')), num_workers=num_workers))))
    assert isinstance(error, DataError)
    message = explain(error)
    assert message.startswith('none.jpg: the file cannot be read (FileNotFoundError') and '\n' not in message
    assert explain(error_of(NonFiniteHook, action='jump')).startswith('NonFiniteHook: action must be one of')


@pytest.mark.parametrize('num_workers', [0, 1])
def test_what_others_raise_needs_the_trace(num_workers: int) -> None:
    assert explain(error_of(lambda: next(iter(DataLoader(Faulty(raise_bug), num_workers=num_workers))))) is None
    assert explain(error_of(read_file)) is None  # a call inside the program that is wrong


def test_several_lines_stay_several_lines() -> None:
    def work() -> None:
        from mmmaskdino.datasets.annotation_report import AnnotationReport

        report = AnnotationReport('a.json')
        report.error('first')
        report.error('second')
        report.raise_errors()

    loader = DataLoader(Faulty(work), num_workers=1)
    assert explain(error_of(lambda: next(iter(loader)))) == explain(error_of(work))
    assert 'first' in explain(error_of(work)) and 'second' in explain(error_of(work))


def test_faults_of_a_config_that_mmengine_finds() -> None:
    assert "the hook 'NoSuchHook', which is not registered" in explain(error_of(HOOKS.build, dict(type='NoSuchHook')))
    assert "NonFiniteHook the argument 'colour', which it does not take" in explain(
        error_of(HOOKS.build, dict(type='NonFiniteHook', colour=1))
    )


def test_a_misspelt_key_of_a_class_that_hands_its_arguments_on() -> None:
    class Plain:
        def __init__(self, max_iters: int = 1) -> None:
            pass

    class Handing(Plain):
        def __init__(self, inner: bool = False, **kwargs) -> None:
            super().__init__(**kwargs, **(dict(wrong=1) if inner else {}))

    said = explain(error_of(HOOKS.build, dict(type=Handing, max_itrs=1)))
    assert "Handing the argument 'max_itrs', which it does not take; did you mean max_iters?" in said
    # An argument that the code gives is a fault of the code.
    assert 'the config' not in (explain(error_of(HOOKS.build, dict(type=Handing, inner=True))) or '')


def test_a_missing_package_is_named_with_the_class_that_needs_it() -> None:
    class Board:
        def __init__(self) -> None:
            try:
                importlib.import_module('no_such_package')
            except ImportError:
                raise ImportError('Please run "pip install future no_such_package"')  # noqa: B904 - as mmengine does

    cfg = Config(dict(visualizer=dict(type='Visualizer', vis_backends=[dict(type='mmengine.Board')])))
    expected = 'needs the package no_such_package: pip install no_such_package'
    assert explain(error_of(Board), cfg) == f'the config asks for Board, which {expected}'
    assert explain(error_of(Board)) == f'the run {expected}'


@pytest.mark.parametrize(
    ('error', 'said'),
    [
        (OSError(28, 'No space left on device', 'x.json'), "[Errno 28] No space left on device: 'x.json'"),
        (torch.cuda.OutOfMemoryError('CUDA out of memory. Tried'), 'smaller train_dataloader.batch_size'),
        (MemoryError(), 'smaller train_dataloader.batch_size'),
        (RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. '), 'fewer num_workers'),
    ],
)
def test_faults_of_the_surroundings(error: Exception, said: str) -> None:
    assert said in explain(error)


def test_the_trace_is_in_the_log_file_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / 'run.log'
    logger = MMLogger.get_instance('test_faults', log_file=str(path))
    with pytest.raises(CommandError, match='cannot be read'), faults_as_messages():
        read_file('none.jpg')
    with pytest.raises(ValueError, match='of a program'), faults_as_messages():
        raise_bug()
    for handler in logger.handlers:
        handler.flush()
    text = path.read_text()
    assert text.count('Traceback') >= 2 and 'DataError: none.jpg' in text and 'ValueError: of a program' in text
    assert 'Traceback' not in ''.join(capsys.readouterr())


def build(key: str, value: object) -> None:
    cfg = load_config('maskdino_r18_shapes_panoptic', {key: value})
    with DefaultScope.overwrite_default_scope('mmdet'):
        MODELS.build(cfg.model)


@pytest.mark.parametrize(
    ('key', 'expected'),
    [
        ('model.panoptic_head.decoder.num_layer', "MaskDINOTransformerDecoder .* 'num_layer', .* mean num_layers"),
        ('model.panoptic_head.query_init.num_querie', 'EncoderQuerySelection .* did you mean num_queries'),
        ('model.backbone.dept', 'ResNet .* did you mean depth'),
        ('model.panoptic_head.xyz', "MaskDINOHead the argument 'xyz', which it does not take; it takes .*criterion"),
    ],
)
def test_a_misspelt_key_inside_the_config(key: str, expected: str) -> None:
    assert re.search(expected, explain(error_of(build, key, 1)))


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        (
            'model.panoptic_head.box_prior.type',
            'BoxPriro',
            "the model 'BoxPriro', .* did you mean BoxPrior",
        ),
        ('model.backbone.type', 'mmdet.ResNett', 'did you mean .*ResNet'),
        ('optim_wrapper.optimizer.type', 'AdmaW', "the optimizer 'AdmaW', .* mean .*AdamW"),
        ('default_hooks.progress.type', 'ProgresHook', "the hook 'ProgresHook', .* did you mean ProgressHook"),
        (
            'train_dataloader.dataset.pipeline.0.type',
            'LoadImage',
            'the transform .* mean .*LoadImageFromFile',
        ),
        ('val_evaluator.0.type', 'Pq', "the metric 'Pq', which is not registered .* custom_imports\\)$"),
    ],
)
def test_a_misspelt_class(tmp_path: Path, key: str, value: str, expected: str) -> None:
    shapes = make_shapes_dataset(tmp_path / 'shapes', 2, 1, size=32, progress=False)
    options = {'train_dataloader.dataset.data_root': f'{shapes}/', 'val_dataloader.dataset.data_root': f'{shapes}/'}
    cfg = load_config('maskdino_r18_shapes_panoptic', {**options, key: value}, str(tmp_path))
    assert re.search(expected, explain(error_of(lambda: build_runner(cfg).train())))


def test_a_misspelt_key_is_an_error_for_people_in_prediction_too(tmp_path: Path) -> None:
    torch.save(dict(state_dict={'a': torch.zeros(1)}), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='did you mean num_layers'):
        Predictor(
            'maskdino_r18_shapes_panoptic',
            tmp_path / 'a.pth',
            device='cpu',
            cfg_options={'model.panoptic_head.decoder.num_layer': 2},
        )
    with pytest.raises(ValueError, match="the model 'MaskDINOHed', .* did you mean MaskDINOHead"):
        Predictor(
            'maskdino_r18_shapes_panoptic',
            tmp_path / 'a.pth',
            device='cpu',
            cfg_options={'model.panoptic_head.type': 'MaskDINOHed'},
        )


@pytest.mark.parametrize('error', [URLError('[Errno -2] Name or service not known'), HTTPException('reset')])
def test_weights_that_cannot_be_fetched(error: Exception) -> None:
    def fetch(url: str) -> None:
        raise error

    message = explain(error_of(fetch, 'https://example.org/resnet50.pth'))
    assert message.startswith('https://example.org/resnet50.pth cannot be fetched (')
    assert 'load_from=FILE' in message and '\n' not in message
