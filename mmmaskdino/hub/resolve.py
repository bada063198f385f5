"""What stands for a model: a name, a work directory, a published folder, a checkpoint; and names of configs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from .cache import cached_model, check_model_reachable
from .table import BACKBONE, SCHEME, Entry, did_you_mean, find_entry, read_table, read_table_file, shipped_configs

PUBLISHED = 'models.yml'  # the table that a published folder holds
SUFFIXES = ('.pth', '.pt', '.pkl')


class ModelFiles(NamedTuple):
    """Where a model comes from."""

    config: Path | None
    """Config file; None: the config that the weights hold."""
    weights: str
    """Checkpoint file or address, as mmengine's loaders take it; what the table knows is fetched when it is loaded."""
    options: dict[str, Any] = {}
    """Dotted config keys and values that belong to the weights; with `Entry.sizes`, complete once they are fetched."""
    remark: str = ''
    """For people: what was chosen where there was a choice; else empty."""


def resolve_model(model: str | Path | None = None, weights: str | Path | None = None) -> ModelFiles:
    """Find config and weights of a model. Nothing is fetched and no checkpoint is read.

    Args:
        model: With weights: file or name of a config, or a work directory whose config is meant; None for the config
            that the weights hold. Alone: a name of the table, a work directory, a published folder, or a checkpoint
            file or address that holds its config.
        weights: Checkpoint file, address, name of the table or work directory; None for those of the model.

    Returns:
        Both.

    Raises:
        ValueError: Something of this does not exist or has no weights.
    """
    if weights is None:
        if model is None:
            raise ValueError('expected the name of a model, a config with weights, or a checkpoint; got none')
        return _resolve_alone(str(model))
    address, remark = find_weights(weights)
    if model is None:
        return _resolve_alone(str(weights))
    config = find_config(model)
    entry = find_entry(address) if address.startswith(SCHEME) else None
    # Given with another config, the values that belong to the table's need not exist.
    options = _of_entry(entry).options if entry and entry.config and config == find_config(entry.config) else {}
    return ModelFiles(config, address, options, remark)


def find_config(config: str | Path) -> Path:
    """The file of a config.

    Args:
        config: Its path, the name of one that comes with the package, or a work directory.

    Raises:
        ValueError: There is none.
    """
    path = Path(config)
    if path.is_file():
        return path
    if path.is_dir():
        found = _config_in(path)
        if found is None:
            raise ValueError(f'the folder {path} has no config; name the config file')
        return found
    known, name = shipped_configs(), path.name.removesuffix('.py')
    if str(config) in (name, f'{name}.py') and name in known:
        return known[name]
    siblings = {file.name for file in path.parent.glob('*.py')} if path.parent.is_dir() else set()
    raise ValueError(f'config file {config} does not exist{did_you_mean(path.name, siblings | set(known))}')


def _resolve_alone(model: str) -> ModelFiles:
    path = Path(model).expanduser()
    if path.is_dir():
        if (path / PUBLISHED).is_file():
            entries = read_table_file(path / PUBLISHED)
            if len(entries) != 1:
                names = ', '.join(entries) or 'none'
                raise ValueError(f'{path / PUBLISHED} of a published folder must hold one model, it has {names}')
            return _of_entry(*entries.values())
        weights, remark = find_weights(model)
        return ModelFiles(_config_in(path), weights, {}, remark)
    if path.suffix != '.py' and path.is_file() or path.suffix in SUFFIXES or _has_scheme(model):
        return ModelFiles(None, find_weights(model)[0])
    name = model.removeprefix(SCHEME).removesuffix('.py')
    if path.is_file() or name not in read_table() and name in shipped_configs():
        raise ValueError(f'{model} is a config, and there are no weights of its name: give weights as well')
    if '/' in name and not model.startswith(SCHEME) and name not in read_table():
        close = did_you_mean(path.name, [file.name for file in path.parent.glob('*')])
        raise ValueError(f'{model}: no such file or folder{close}')
    return _of_entry(find_entry(model))


def _of_entry(entry: Entry) -> ModelFiles:
    if not entry.is_model:
        use = 'model.backbone.init_cfg.checkpoint' if entry.task == BACKBONE else 'load_from'
        raise ValueError(
            f'{entry.name} is no whole model ({entry.task}): to start a training from it, set '
            f'{use}={SCHEME}{entry.name} in the config'
        )
    receipt = cached_model(entry) or {}
    is_here = entry.kind is None and Path(entry.address).is_file()
    if not is_here:
        check_model_reachable(entry)
    elif entry.bytes not in (None, Path(entry.address).stat().st_size):
        raise ValueError(f'{entry.address} is not complete: expected {entry.bytes} bytes; copy the folder again')
    return ModelFiles(
        find_config(entry.config) if entry.config else None,
        entry.address if is_here else SCHEME + entry.name,
        receipt.get('options', entry.options),
    )


def find_weights(weights: str | Path) -> tuple[str, str]:
    """Path or address of weights.

    Args:
        weights: Checkpoint file, address, name of the table or work directory.

    Returns:
        Path or address, and for people what was chosen.

    Raises:
        ValueError: There are none.
    """
    name, path = str(weights), Path(weights).expanduser()
    if (path / PUBLISHED).is_file():
        return resolve_model(path).weights, ''
    if path.is_dir():
        checkpoint = _checkpoint_in(path)
        return str(checkpoint), f'weights of {path}: {checkpoint.name}'
    if path.is_file() or _has_scheme(name):
        return (name if _has_scheme(name) else str(path)), ''
    table = read_table()
    if name.startswith(SCHEME) or name in table:
        return SCHEME + find_entry(name).name, ''
    found = ', '.join(sorted(str(p) for p in path.parent.glob('*') if p.suffix in SUFFIXES)) or 'none'
    raise ValueError(f'checkpoint {name} does not exist{did_you_mean(name, table)}; checkpoints in its folder: {found}')


def find_start(weights: str | Path) -> tuple[str, str]:
    """Weights that the training of a whole model can start from; arguments and returns of :func:`find_weights`.

    Raises:
        ValueError: There are none, or they are those of a backbone, of which mmengine would load nothing, silently.
    """
    address, remark = find_weights(weights)
    if address.startswith(SCHEME) and find_entry(address).task == BACKBONE:
        _of_entry(find_entry(address))  # which says how to use them
    return address, remark


def _has_scheme(address: str) -> bool:
    return '://' in address and not address.startswith(SCHEME)


def _checkpoint_in(folder: Path) -> Path:
    """The best checkpoint of a work directory, else the last; of other folders the only one.

    Raises:
        ValueError: There is none, or it is not clear which.
    """
    files = [path for path in folder.iterdir() if path.suffix in SUFFIXES]
    best = [path for path in files if path.name.startswith('best_')]
    numbered = {int(m[1]): path for path in files if (m := re.fullmatch(r'(?:iter|epoch)_(\d+)\.pth', path.name))}
    if best:
        return max(best, key=lambda path: path.stat().st_mtime)
    if numbered:
        return numbered[max(numbered)]
    if len(files) != 1:
        inner = sorted({str(path.parent) for path in folder.glob('*/*') if path.suffix in SUFFIXES})
        hint = f'; folders with checkpoints in it: {", ".join(inner)}' if inner else ''
        names = ', '.join(sorted(path.name for path in files)) or 'none'
        raise ValueError(
            f'the folder {folder} has no checkpoint best_*, iter_* or epoch_* (checkpoints: {names}){hint}'
        )
    return files[0]


def _config_in(folder: Path) -> Path | None:
    """The config that a run has left in its work directory; None where there is none.

    Raises:
        ValueError: There are several.
    """
    configs = sorted(folder.glob('*.py'))
    named = [path for path in configs if path.stem == folder.resolve().name]
    if len(configs) > 1 and not named:
        raise ValueError(
            f'the folder {folder} has several configs ({", ".join(path.name for path in configs)}); give the config '
            'and the checkpoint by their files'
        )
    return next(iter(named or configs), None)
