"""The table of weights by name: that of the package, with the user's own."""

from __future__ import annotations

import difflib
import importlib.metadata
import os
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin

import yaml

SCHEME = 'maskdino://'
TABLES = 'MMMASKDINO_MODELS'  # files of the user's own tables, separated as in PATH
ENTRY_POINTS = 'mmmaskdino.models'
BACKBONE, PRETRAINING = 'backbone', 'detection pre-training'
TASKS = ('panoptic', 'instance', 'semantic', 'detection', PRETRAINING, BACKBONE)
_PACKAGE = Path(__file__).parents[1]


class Entry(NamedTuple):
    """Weights that have a name."""

    name: str
    address: str
    """Of the file, or its path."""
    task: str
    """One of `TASKS`."""
    config: str | None = None
    """Name or path of the config of their model; None: the weights hold it."""
    mirrors: tuple[str, ...] = ()
    bytes: int | None = None
    megabytes: float | None = None
    """For people, where `bytes` is not known."""
    md5: str | None = None
    sha256: str | None = None
    """Or its beginning."""
    kind: str | None = None
    """Of the file, a key of `mmmaskdino.converters.KINDS`; None: of this package, nothing to convert."""
    options: dict[str, Any] = {}
    """Dotted config keys and values that belong to the weights."""
    sizes: dict[str, str] = {}
    """Dotted config key by the tensor of the file whose length is its value."""
    results: dict[str, float] = {}
    """As published, in percent."""
    backbone: str = ''
    data: str = ''
    licence: str = ''
    about: str = ''

    @property
    def is_model(self) -> bool:
        """Whether they are all of a model, so that it can predict."""
        return self.task not in (BACKBONE, PRETRAINING)


def configs_folder() -> Path:
    """Where the configs of the package are: installed with it, or beside it in a source tree."""
    installed = _PACKAGE / '.mim' / 'configs' / 'maskdino'
    return installed if installed.is_dir() else _PACKAGE.parent / 'configs' / 'maskdino'


@cache
def shipped_configs() -> dict[str, Path]:
    """The package's configs by name."""
    return {path.stem: path for path in sorted(configs_folder().rglob('*.py'))}


def read_table() -> dict[str, Entry]:
    """All weights by name: the package's, then those of installed packages, then those of the user's files.

    A later entry takes the place of an earlier one of its name.

    Raises:
        ValueError: A table cannot be read.
    """
    paths = [configs_folder() / 'models.yml']
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        made = point.load()
        paths.append(Path(made() if callable(made) else made))
    paths += [Path(path).expanduser() for path in os.environ.get(TABLES, '').split(os.pathsep) if path]
    table: dict[str, Entry] = {}
    for path in paths:
        table |= read_table_file(path)
    return table


def read_table_file(path: Path) -> dict[str, Entry]:
    """The weights of one table.

    Args:
        path: A YAML file with `models` and, optionally, `groups` of values that several models share. Relative paths in
            it start at its folder.

    Raises:
        ValueError: It is no such file.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
        groups, models = content.get('groups') or {}, content['models']
        return {
            name: _entry(name, {**groups.get(model.get('group'), {}), **model}, path) for name, model in models.items()
        }
    except OSError as error:
        raise ValueError(f'table of models {path}: {error.strerror} ({TABLES} names it)') from error
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f'table of models {path}: expected `models:` with a mapping of values under each name, got '
            f'{type(error).__name__}: {error}'
        ) from error


def find_entry(name: str) -> Entry:
    """The weights of a name.

    Args:
        name: With or without `maskdino://`.

    Raises:
        ValueError: There is no such name.
    """
    table, plain = read_table(), name.removeprefix(SCHEME)
    if plain not in table:
        words = _words(plain)
        hint = did_you_mean(plain, table) or _suggestion([known for known in table if words <= _words(known)][:3])
        raise ValueError(f'no model has the name {plain} (`mmmaskdino models` lists all){hint}')
    return table[plain]


def check_name(name: str, where: str) -> None:
    """Reject what cannot be the name of a model, and so of its folder and files.

    Args:
        name: The name.
        where: It is given, for the message.

    Raises:
        ValueError: Naming the place.
    """
    if not re.fullmatch(r'\w[\w.+-]*', name):
        raise ValueError(f'{where}: expected a name of letters, digits and . _ + -')


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that does not exist; empty where none is close."""
    return _suggestion(difflib.get_close_matches(name, sorted(known), n=3))


def _suggestion(names: Sequence[str]) -> str:
    return f'; did you mean {" or ".join(names)}?' if names else ''


def _words(name: str) -> set[str]:
    return set(re.split(r'[\W_]+', name.lower()))


def _entry(name: str, values: dict[str, Any], path: Path) -> Entry:
    base, mirror = values.pop('base', ''), values.pop('mirror', '')
    values.pop('group', None)
    unknown = set(values) - set(Entry._fields)
    missing = {'address', 'task'} - set(values)
    if unknown or missing:
        wrong = f'unknown: {", ".join(sorted(unknown))}' if unknown else f'missing: {", ".join(sorted(missing))}'
        raise ValueError(f'table of models {path}, {name}: {wrong}; the values are {", ".join(Entry._fields[1:])}')
    if values['task'] not in TASKS:
        raise ValueError(f'table of models {path}, {name}: task is {values["task"]!r}, expected one of {TASKS}')
    if isinstance(values.get('mirrors', ()), str):
        raise ValueError(f'table of models {path}, {name}: mirrors must be a list of addresses, got a text')
    address = values['address']
    values['mirrors'] = (*([urljoin(mirror, address)] if mirror else []), *values.get('mirrors', ()))
    values['address'] = urljoin(base, address) if base else _absolute(address, path)
    config = values.get('config', name if values.get('kind') else None)
    values['config'] = config if config is None or config in shipped_configs() else _absolute(config, path)
    check_name(name, f'table of models {path}, {name}')
    return Entry(name=name, **values)


def _absolute(address: str, table: Path) -> str:
    return address if '://' in address else str(table.parent / Path(address).expanduser())
