"""Which checkpoint of a work dir a run can go on from."""

import logging
import re
import zipfile
import zlib
from pathlib import Path

from mmengine.logging import print_log


def is_complete(path: Path) -> bool:
    """Whether a checkpoint was written to its end and not damaged since.

    Args:
        path: A file of ``torch.save``, a zip archive: its directory is at the end and has a checksum of each part.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError):
        return False


def find_resumable_checkpoint(work_dir: str | Path) -> str | None:
    """Find the last complete checkpoint of a run.

    mmengine believes its file ``last_checkpoint``, which may be empty, name a file of a work dir that has been moved
    since, or name one that was damaged.

    Args:
        work_dir: Where the run has its logs.

    Returns:
        The path; None if the folder has no checkpoint at all.

    Raises:
        ValueError: There are checkpoints, and none is complete.
    """
    candidates = _candidates(Path(work_dir))
    for path in candidates:
        if is_complete(path):
            return str(path)
        print_log(f'{path} is damaged or was not written to its end; trying an older one', 'current', logging.WARNING)
    if candidates:
        listed = ', '.join(path.name for path in candidates)
        raise ValueError(
            f'none of the checkpoints in {work_dir} is complete ({listed}); remove them to start again, or name '
            'another checkpoint'
        )
    return None


def _candidates(work_dir: Path) -> list[Path]:
    """The checkpoints of training, the one that ``last_checkpoint`` names first, then by their number, last first."""
    record = work_dir / 'last_checkpoint'
    text = record.read_text(errors='replace').strip('\0 \n') if record.is_file() else ''
    named = Path(text)
    folders = {work_dir, named.parent} if text else {work_dir}
    found = [path for folder in folders for path in folder.glob('*.pth') if _number(path) is not None]
    found.sort(key=_number, reverse=True)
    if text and named.is_file():
        found = [named, *(path for path in found if path.resolve() != named.resolve())]
    return found


def _number(path: Path) -> int | None:
    """Iteration or epoch in a name such as ``iter_300.pth``; None for other files, such as ``best_...``."""
    match = re.fullmatch(r'(?:iter|epoch)_(\d+)\.pth', path.name)
    return int(match[1]) if match else None
