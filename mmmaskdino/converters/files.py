"""Checkpoint files that others made: read without running anything that they contain."""

import io
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from mmmaskdino.plain_text import first_line

# Where files keep their weights: mmengine, then detectron2, detrex, and the official code of DINO and Swin.
STATE_KEYS = ('state_dict', 'model')
# All that arrays, tensors and plain containers need.
ALLOWED = {
    ('builtins', 'set'),
    ('collections', 'Counter'),  # the milestones of mmengine's MultiStepLR
    ('collections', 'OrderedDict'),
    ('collections', 'defaultdict'),
    ('collections', 'deque'),
    # In checkpoints of a training run: the history of its losses. Unpickling one fills it with plain data.
    ('mmengine.logging.history_buffer', 'HistoryBuffer'),
    ('_codecs', 'encode'),
    ('numpy', 'dtype'),
    ('numpy', 'ndarray'),
    ('numpy.core.multiarray', '_reconstruct'),
    ('numpy.core.multiarray', 'scalar'),
    ('numpy._core.multiarray', '_reconstruct'),
    ('numpy._core.multiarray', 'scalar'),
    ('torch._utils', '_rebuild_tensor_v2'),
    ('torch._utils', '_rebuild_parameter'),
}


class Checkpoint(NamedTuple):
    """A checkpoint file."""

    tensors: dict[str, Tensor]
    """Weights by name."""
    meta: dict[str, Any]
    """mmengine's metadata; empty in files of others."""
    content: Mapping[str, Any]
    """The whole file."""


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read weights.

    Args:
        path: A ``.pth`` file of any of the code bases, or a ``.pkl`` of detectron2.

    Returns:
        The weights, on the CPU.

    Raises:
        ValueError: If the file is missing, damaged, of another kind, or asks for code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f'checkpoint {path} does not exist')
    content = _read_pickle(path) if path.suffix == '.pkl' else read_torch_file(path)
    if not isinstance(content, Mapping):
        raise ValueError(f'{path} holds a {type(content).__name__}, expected a dict of tensors by name')
    tensors = next((content[key] for key in STATE_KEYS if isinstance(content.get(key), Mapping)), content)
    tensors = {str(name).removeprefix('module.'): _as_tensor(name, value, path) for name, value in tensors.items()}
    if not tensors:
        raise ValueError(f'{path} holds no tensors')
    meta = content.get('meta')
    return Checkpoint(tensors, meta if isinstance(meta, dict) else {}, content)


def read_torch_file(path: Path, map_location: Any = 'cpu') -> Any:
    """The content of a file of ``torch.save``: tensors, arrays, plain data and the history of losses.

    Args:
        path: The file.
        map_location: As of ``torch.load``.

    Raises:
        ValueError: If it is damaged, of another kind, or asks for code to be run; nothing was run.
    """
    _reject_other_formats(path)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'TypedStorage is deprecated')  # torch 2.1 warns of its own reader
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError:
        # Arrays and the history of losses, which torch does not admit by itself (2.1 has no way to add to its list).
        return _read_restricted(path, map_location)
    except Exception as error:
        raise ValueError(f'{path} is damaged or no checkpoint of torch: {first_line(error)}') from error


def _reject_other_formats(path: Path) -> None:
    """Files that torch.load before 2.6 hands to other readers, whatever weights_only says."""
    if tarfile.is_tarfile(path):
        raise ValueError(f'{path} was rejected: it is a tar file of a very old torch, which could run code')
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith('constants.pkl') for name in archive.namelist()):
                raise ValueError(f'{path} was rejected: it is a TorchScript program, expected a file of torch.save')


def _read_restricted(path: Path, map_location: Any) -> Any:
    if not zipfile.is_zipfile(path):
        raise ValueError(f'{path} is damaged or no checkpoint of torch: expected a file that torch.save has written')
    restricted = SimpleNamespace(Unpickler=_Unpickler, load=_load, __name__='restricted')
    try:
        return torch.load(path, map_location=map_location, pickle_module=restricted, weights_only=False)
    except Exception as error:
        raise ValueError(f'{path} was rejected: {first_line(error)}') from error


def _read_pickle(path: Path) -> Any:
    try:
        # latin1: files of Python 2, as those of detectron2's model zoo.
        return _load(io.BytesIO(path.read_bytes()), encoding='latin1')
    except Exception as error:
        raise ValueError(f'{path} was rejected: {first_line(error)}') from error


class _Unpickler(pickle.Unpickler):
    """Admits arrays, tensors and containers; rejects every other class or function, before anything is called."""

    def find_class(self, module: str, name: str) -> Any:
        module = {'__builtin__': 'builtins'}.get(module, module)  # the name in older protocols
        if (module, name) == ('builtins', 'getattr'):
            return _method_of_history
        if (module, name) in ALLOWED or (module == 'torch' and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(
            f'it asks for {module}.{name}, which is neither a tensor nor an array nor plain data and could run code; '
            'nothing was run'
        )


def _method_of_history(owner: Any, name: str) -> Any:
    """Stands for ``getattr``, by which the history of losses names its own methods."""
    method = vars(HistoryBuffer).get(name) if owner is HistoryBuffer and isinstance(name, str) else None
    if not isinstance(method, FunctionType):
        raise pickle.UnpicklingError(f'it asks for getattr of {owner!r}, which could run code; nothing was run')
    return method


def _load(file: Any, **kwargs: Any) -> Any:
    return _Unpickler(file, **kwargs).load()


def _as_tensor(name: Any, value: Any, path: Path) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype != object:
        return torch.from_numpy(np.array(value))
    raise ValueError(
        f'{path} holds a {type(value).__name__} under {name!r}, expected a tensor or an array: it is no checkpoint '
        f'with the weights at the top or under one of {STATE_KEYS}'
    )
