"""Config files by name: those of the model zoo come with the package, wherever it is installed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import mmmaskdino

# Of the model zoo: a link into the working tree in editable installs, copies in wheels (setup.py).
CONFIGS = Path(mmmaskdino.__file__).parent / '.mim' / 'configs' / 'maskdino'


def find_config(name: str | Path) -> Path:
    """The file that a path or the name of a config of the model zoo stands for.

    Args:
        name: A path, or a name such as `maskdino_r50_coco_panoptic`, with `.py` or without. A file in the current
            folder comes before a config of the model zoo.

    Returns:
        A file that exists.

    Raises:
        ValueError: Neither is there; the message has the nearest names.
    """
    path = Path(name)
    if path.is_file():
        return path
    zoo = model_zoo()
    key = path.name.removesuffix('.py')
    if path.parent == Path() and key in zoo:
        return zoo[key]
    siblings = {file.name for file in path.parent.glob('*.py')} if path.parent.is_dir() else set()
    nearest = suggestion(path.name, siblings) or suggestion(key, zoo)
    raise ValueError(f'config file {path} does not exist{nearest}')


@cache
def model_zoo() -> dict[str, Path]:
    """The configs of the model zoo by name."""
    return {path.stem: path for path in sorted(CONFIGS.rglob('*.py'))}


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not known: `; did you mean X?`, or nothing."""
    matches = difflib.get_close_matches(name, sorted(known), n=3)
    return f'; did you mean {" or ".join(matches)}?' if matches else ''
