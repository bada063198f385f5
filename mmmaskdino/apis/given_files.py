"""Files that a command line names, looked at before anything is imported that takes seconds."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


def check_config(path: str | Path) -> Path:
    """Reject a config file that is not there.

    Args:
        path: As it was given.

    Returns:
        Its path.

    Raises:
        ValueError: With similar names of its folder.
    """
    path = Path(path)
    if not path.is_file():
        siblings = {file.name for file in path.parent.glob('*.py')} if path.parent.is_dir() else set()
        raise ValueError(f'config file {path} does not exist{suggestion(path.name, siblings)}')
    return path


def check_weights(path: str | Path) -> None:
    """Reject a checkpoint that is not there; an address is not looked at.

    Args:
        path: File or address.

    Raises:
        ValueError: With the checkpoints of its folder.
    """
    if '://' not in str(path) and not Path(path).is_file():
        found = ', '.join(sorted(map(str, Path(path).parent.glob('*.pth')))) or 'none'
        raise ValueError(f'checkpoint {path} does not exist; checkpoints in its folder: {found}')


def suggestion(name: str, known: Iterable[str]) -> str:
    """What might have been meant, for the end of a message; empty if nothing is similar."""
    matches = difflib.get_close_matches(name, sorted(known), n=3)
    return f'; did you mean {" or ".join(matches)}?' if matches else ''
