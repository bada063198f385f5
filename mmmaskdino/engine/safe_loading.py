"""mmengine loads checkpoints through here, wherever it does: nothing that a file contains is run."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import get_external_models, get_torchvision_models, load_from_http, load_from_local

from mmmaskdino.converters.files import read_torch_file
from mmmaskdino.hub import local_weights
from mmmaskdino.hub.download import digits_in
from mmmaskdino.hub.table import SCHEME

TRUST = 'MMMASKDINO_TRUST_CHECKPOINTS'


def _unless_trusted(original: Callable) -> Callable:
    """Decorates a loader; mmengine's own is taken where the environment says so."""

    def decorate(loader: Callable) -> Callable:
        def load(filename: str, map_location: Any = None, **kwargs: Any) -> Any:
            chosen = original if os.environ.get(TRUST) == '1' else loader
            return chosen(filename, map_location, **kwargs)

        load.__name__ = original.__name__  # mmengine's log takes it apart
        return load

    return decorate


@CheckpointLoader.register_scheme(prefixes='', force=True)
@_unless_trusted(load_from_local)
def load_local(filename: str, map_location: Any = None) -> Any:
    """Load a file.

    mmengine takes the safe way first, and if that fails the other, which runs whatever the file asks for.

    Args:
        filename: Path.
        map_location: As of ``torch.load``.

    Returns:
        Tensors and plain data.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is damaged or asks for code to be run.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'{filename} can not be found.')
    try:
        content = read_torch_file(path, map_location)
    except ValueError as error:
        if 'asks for' not in str(error):
            raise
        raise ValueError(
            f'{error}. If you made the file yourself, or trust whoever did as you trust a program, set {TRUST}=1'
        ) from error
    meta = content.get('meta') if isinstance(content, dict) else None
    if isinstance(meta, dict) and meta.pop('config', None) is not None:  # which mmengine would run as a config file
        print_log(f'{filename}: the text under meta.config is code and was not run', 'current', logging.WARNING)
    return content


@CheckpointLoader.register_scheme(prefixes=('http://', 'https://'), force=True)
@_unless_trusted(load_from_http)
def load_http(filename: str, map_location: Any = None) -> Any:
    """Load a file that is downloaded once per machine; see :func:`load_local`.

    Args:
        filename: Address. What torch's cache has under a name with digits of its checksum is taken from there.
        map_location: As of ``torch.load``.
    """
    name = filename.rpartition('/')[2]
    path = Path(torch.hub.get_dir()) / 'checkpoints' / name
    if not digits_in(name) or not path.is_file():
        path = local_weights(filename)
    return load_local(str(path), map_location)


@CheckpointLoader.register_scheme(prefixes=SCHEME, force=True)
def load_named(filename: str, map_location: Any = None) -> Any:
    """Load weights by their name in the table of models, fetched and converted once; see :func:`load_local`."""
    return load_local(str(local_weights(filename)), map_location)


@CheckpointLoader.register_scheme(prefixes=('torchvision://', 'modelzoo://'), force=True)
def load_torchvision(filename: str, map_location: Any = None) -> Any:
    """Load a model of torchvision by its name; see :func:`load_http`."""
    return load_http(get_torchvision_models()[filename.partition('://')[2]], map_location)


@CheckpointLoader.register_scheme(prefixes=('open-mmlab://', 'openmmlab://'), force=True)
def load_openmmlab(filename: str, map_location: Any = None) -> Any:
    """Load a model of OpenMMLab by its name; see :func:`load_http`."""
    url = get_external_models()[filename.partition('://')[2]]
    return CheckpointLoader.load_checkpoint(url, map_location)
