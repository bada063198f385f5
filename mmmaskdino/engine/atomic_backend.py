"""Writing files so that whoever reads them finds the old content or the new, whatever happens in between."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.fileio import register_backend
from mmengine.fileio.backends import LocalBackend

PARTIAL_SUFFIX = '.partial'


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """mmengine's local files, written under another name and renamed when they are complete and on the disk.

    A process that is killed, a power cut and a full disk leave the file that was there before. In configs:
    ``backend_args=dict(backend='atomic')``.
    """

    def __init__(self) -> None:
        self._postponed: list[Path] | None = None

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file.

        Args:
            obj: Its content.
            filepath: Its path; missing folders are made.

        Raises:
            OSError: It could not be written, for instance because the disk is full; the old file is untouched.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + PARTIAL_SUFFIX)
        try:
            with open(partial, 'wb') as file:
                file.write(obj)
            complete_file(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write a text file; see :meth:`put`."""
        self.put(obj.encode(encoding), filepath)

    def remove(self, filepath: str | Path) -> None:
        """Remove a file, inside :meth:`removing_afterwards` at its end."""
        if self._postponed is None:
            super().remove(filepath)
        else:
            self._postponed.append(Path(filepath))

    @contextmanager
    def removing_afterwards(self) -> Iterator[None]:
        """What is removed inside goes when all inside has succeeded, and stays if it fails."""
        outdated = self._postponed = []
        try:
            yield
        finally:
            self._postponed = None
        for path in outdated:
            path.unlink(missing_ok=True)


def complete_file(partial: Path, path: Path) -> None:
    """Give a file that is written its name, in which it replaces an older one, when it is on the disk.

    Args:
        partial: Where it was written.
        path: Its name, in the same folder.
    """
    with open(partial, 'rb+') as file:
        os.fsync(file.fileno())  # else the new name may reach the disk before the content
    os.replace(partial, path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == 'nt':  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
