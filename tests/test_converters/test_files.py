"""Files of others: what is read, and that nothing in them is run."""

import collections
import io
import os
import pickle
import tarfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from mmmaskdino.converters import read_checkpoint

WEIGHTS = {'layer.weight': torch.arange(6.0).view(2, 3), 'layer.steps': torch.tensor(4)}


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.command = f'touch {path}'

    def __reduce__(self):
        return os.system, (self.command,)


def check(path):
    """Read the file and compare it with the weights."""
    checkpoint = read_checkpoint(path)
    assert set(checkpoint.tensors) == set(WEIGHTS)
    assert all(torch.equal(checkpoint.tensors[name], tensor) for name, tensor in WEIGHTS.items())
    return checkpoint


@pytest.mark.parametrize(
    'content',
    [
        WEIGHTS,
        collections.OrderedDict(WEIGHTS),
        {'state_dict': WEIGHTS, 'meta': {'dataset_meta': {'classes': ('a', 'b')}}},
        {'model': WEIGHTS, 'optimizer': {'state': {}}, 'iteration': 5},
        {'state_dict': {f'module.{name}': tensor for name, tensor in WEIGHTS.items()}},
        {name: torch.nn.Parameter(t) if t.is_floating_point() else t for name, t in WEIGHTS.items()},
    ],
    ids=['bare', 'ordered', 'mmengine', 'detectron2', 'wrapped', 'parameters'],
)
@pytest.mark.parametrize('legacy', [False, True])
def test_weights_of_each_code_base(tmp_path, content, legacy):
    torch.save(content, tmp_path / 'weights.pth', _use_new_zipfile_serialization=not legacy)
    check(tmp_path / 'weights.pth')


def test_arrays(tmp_path):
    content = {'model': {name: tensor.numpy() for name, tensor in WEIGHTS.items()}, 'loss': np.float64(1.5)}
    torch.save(content, tmp_path / 'weights.pth')
    check(tmp_path / 'weights.pth')


@pytest.mark.parametrize('protocol', [2, 4])
def test_pickle_of_detectron2(tmp_path, protocol):
    arrays = {name: tensor.numpy() for name, tensor in WEIGHTS.items()}
    content = {'model': arrays, '__author__': 'torchvision', 'matching_heuristics': True}
    (tmp_path / 'R-50.pkl').write_bytes(pickle.dumps(content, protocol))
    check(tmp_path / 'R-50.pkl')


def test_checkpoint_of_a_training_run(tmp_path):
    """With the optimizer's state and the history of the losses, which are objects and arrays."""
    hub = MessageHub('test_files')
    hub.update_scalar('train/loss', 1.5)
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    content = dict(
        state_dict=WEIGHTS,
        meta=dict(iter=3, seed=np.int64(5)),
        message_hub=hub.state_dict(),
        optimizer=optimizer.state_dict(),
    )
    assert isinstance(content['message_hub']['log_scalars']['train/loss'], HistoryBuffer)
    torch.save(content, tmp_path / 'iter_3.pth')
    assert check(tmp_path / 'iter_3.pth').meta['iter'] == 3


@pytest.mark.parametrize('name', ['weights.pth', 'weights.pkl', 'legacy.pth'])
@pytest.mark.parametrize('beside', [{}, {'array': np.zeros(2)}], ids=['', 'arrays'])
def test_code_is_rejected_and_not_run(tmp_path, name, beside):
    content = {'model': dict(WEIGHTS), 'trick': Attack(tmp_path / 'was_here'), **beside}
    if name.endswith('.pkl'):
        content['model'] = {key: tensor.numpy() for key, tensor in WEIGHTS.items()}
        (tmp_path / name).write_bytes(pickle.dumps(content))
    else:
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=name != 'legacy.pth')
    with pytest.raises(ValueError, match='legacy.pth is damaged' if name == 'legacy.pth' else r'(posix|nt)\.system'):
        read_checkpoint(tmp_path / name)
    assert not (tmp_path / 'was_here').exists()
    pickle.loads(pickle.dumps(Attack(tmp_path / 'was_here')))  # it would have worked
    assert (tmp_path / 'was_here').exists()


@pytest.mark.parametrize('function', ['eval', 'exec', '__import__'])
def test_builtins_are_rejected(tmp_path, function):
    (tmp_path / 'weights.pkl').write_bytes(f'cbuiltins\n{function}\n.'.encode())
    with pytest.raises(ValueError, match=f'asks for builtins.{function}'):
        read_checkpoint(tmp_path / 'weights.pkl')


def test_attributes_are_rejected(tmp_path):
    (tmp_path / 'weights.pkl').write_bytes(b'cbuiltins\ngetattr\n(cnumpy\ndtype\nVmro\ntR.')
    with pytest.raises(ValueError, match='getattr of .*dtype.*nothing was run'):
        read_checkpoint(tmp_path / 'weights.pkl')


def test_tar_is_rejected(tmp_path):
    with tarfile.open(tmp_path / 'old.pth', 'w') as tar:
        tar.addfile(tarfile.TarInfo('pickle'), io.BytesIO())
    with pytest.raises(ValueError, match='old.pth was rejected: it is a tar file'):
        read_checkpoint(tmp_path / 'old.pth')


def test_torchscript_is_rejected(tmp_path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / 'model.pth')
    with pytest.raises(ValueError, match='model.pth was rejected: it is a TorchScript program'):
        read_checkpoint(tmp_path / 'model.pth')


@pytest.mark.parametrize('suffix', ['.pth', '.pkl'])
@pytest.mark.parametrize('share', [0.0, 0.5, 0.95])
def test_truncated_file_is_rejected(tmp_path, suffix, share):
    path = tmp_path / f'weights{suffix}'
    if suffix == '.pth':
        torch.save(WEIGHTS, path)
    else:
        path.write_bytes(pickle.dumps({name: tensor.numpy() for name, tensor in WEIGHTS.items()}))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=f'weights{suffix} (is damaged|was rejected)'):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([1, 2], 'holds a list, expected a dict'),
        ({'epoch': 3}, "holds a int under 'epoch', expected a tensor"),
        ({'state_dict': {}}, 'holds no tensors'),
        ({'state_dict': {'a': np.array([{}], dtype=object)}}, "holds a ndarray under 'a'"),
    ],
)
def test_foreign_content_is_rejected(tmp_path, content, message):
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / 'other.pth')


def test_foreign_file_is_rejected(tmp_path):
    for name in ('notes.pth', 'notes.pkl'):
        (tmp_path / name).write_text('no weights')
        with pytest.raises(ValueError, match=name):
            read_checkpoint(tmp_path / name)
    with pytest.raises(ValueError, match='does not exist'):
        read_checkpoint(tmp_path / 'nowhere.pth')
