"""Files that would run code when they are loaded."""

import collections
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import CheckpointLoader, load_checkpoint

from mmmaskdino.engine import load_local


class Attack:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.system, (f'touch {self.path}',)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    path = tmp_path / 'hostile.pth'
    torch.save({'state_dict': {'weight': torch.zeros(1)}, 'meta': Attack(tmp_path / 'was_here')}, path)
    return path


def test_mmengine_runs_nothing(hostile: Path, tmp_path: Path) -> None:
    """Not with a file that mmengine by itself loads by running what is in it."""
    for load in (CheckpointLoader.load_checkpoint, lambda path: load_checkpoint(torch.nn.Linear(1, 1), path)):
        with pytest.raises(ValueError, match=r'hostile.pth was rejected: .*system.* MMMASKDINO_TRUST_CHECKPOINTS=1'):
            load(str(hostile))
    assert not (tmp_path / 'was_here').exists()


def test_a_file_that_is_trusted(hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('MMMASKDINO_TRUST_CHECKPOINTS', '1')
    CheckpointLoader.load_checkpoint(str(hostile))
    assert (tmp_path / 'was_here').exists()


def test_all_of_a_training_checkpoint_is_there(tmp_path: Path) -> None:
    hub = MessageHub(tmp_path.name)
    for value in (1.0, 2.0):
        hub.update_scalar('train/loss', value)
    hub.update_info('keep_ckpt_ids', [3])
    parameter = torch.nn.Parameter(torch.rand(2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.ones(2)
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 3, 5])
    content = {
        'meta': {'seed': np.int64(3), 'dataset_meta': {'classes': ('cup', 'cat')}},
        'message_hub': hub.state_dict(),
        'optimizer': optimizer.state_dict(),
        'param_schedulers': [scheduler.state_dict()],
        'ids': collections.deque([1]),
    }
    torch.save(content, tmp_path / 'iter_1.pth')
    loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'iter_1.pth'), map_location='cpu')
    history = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer) and history.mean() == 1.5
    assert loaded['param_schedulers'][0]['milestones'] == {3: 2, 5: 1}
    assert (loaded['meta'], loaded['ids']) == (content['meta'], content['ids'])
    torch.testing.assert_close(loaded['optimizer']['state'], content['optimizer']['state'])
    MessageHub(f'{tmp_path.name}_2').load_state_dict(loaded['message_hub'])


def test_only_methods_of_the_history_are_attributes(tmp_path: Path) -> None:
    path = tmp_path / 'a.pkl'
    path.write_bytes(b'cbuiltins\ngetattr\n(cmmengine.logging.history_buffer\nHistoryBuffer\nV__class__\ntR.')
    from mmmaskdino.converters import read_checkpoint

    with pytest.raises(ValueError, match='getattr of .*HistoryBuffer.*nothing was run'):
        read_checkpoint(path)
    assert pickle.loads(path.read_bytes()) is type  # as Python would


def test_a_config_inside_is_not_run(tmp_path: Path) -> None:
    """mmengine runs the text under meta.config when it resumes."""
    torch.save({'meta': {'config': 'raise SystemExit', 'cfg': 'a = 1'}}, tmp_path / 'a.pth')
    assert load_local(str(tmp_path / 'a.pth'))['meta'] == {'cfg': 'a = 1'}


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='missing.pth'):
        load_local(str(tmp_path / 'missing.pth'))
    (tmp_path / 'a.pth').write_bytes(b'text')
    with pytest.raises(ValueError, match='a.pth is damaged'):
        load_local(str(tmp_path / 'a.pth'))


@pytest.mark.parametrize(
    'address', ['https://example.org/r18.pth', 'torchvision://resnet18', 'open-mmlab://vgg16_caffe']
)
def test_downloads(hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr('mmmaskdino.hub.cache.fetch_address', lambda address: hostile)
    with pytest.raises(ValueError, match='was rejected'):
        CheckpointLoader.load_checkpoint(address)
    assert not (tmp_path / 'was_here').exists()


def test_what_torch_has_fetched_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If its name has digits of a checksum, so that no other file has the same name."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setenv('MMMASKDINO_OFFLINE', '1')
    (tmp_path / 'checkpoints').mkdir()
    for name in ('r18-1a2b3c4d.pth', 'r18.pth'):
        torch.save({'a': 1}, tmp_path / 'checkpoints' / name)
    assert CheckpointLoader.load_checkpoint('https://example.org/r18-1a2b3c4d.pth') == {'a': 1}
    with pytest.raises(ValueError, match='r18.pth is not on this disk'):
        CheckpointLoader.load_checkpoint('https://example.org/r18.pth')
