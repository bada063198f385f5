"""Which errors are told in a line, and which need their traceback."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS
from torch.utils.data import DataLoader, Dataset

from mmmaskdino.cli.faults import explain, faults_as_messages
from mmmaskdino.cli.messages import CommandError
from mmmaskdino.datasets.files import DataError, read_file
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
    assert explain(error_of(HOOKS.build, dict(type='NoSuchHook'))).startswith('NoSuchHook is not in the')
    assert "unexpected keyword argument 'colour'" in explain(
        error_of(HOOKS.build, dict(type='NonFiniteHook', colour=1))
    )


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
