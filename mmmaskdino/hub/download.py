"""Downloads that are complete and right, or not there."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from mmmaskdino.progress import Progress
from mmmaskdino.version import __version__

HOME, MIRROR, OFFLINE, KEEP = (f'MMMASKDINO_{name}' for name in ('HOME', 'MIRROR', 'OFFLINE', 'KEEP_ORIGINALS'))
ATTEMPTS, SECONDS = 4, 1.0  # per address; the wait before the second attempt, doubled before each further one
TIMEOUT = 30.0
CHUNK = 1 << 20
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)


class FetchError(ValueError):
    """A file could not be fetched."""


class _WrongFileError(FetchError):
    """What came is another file, or a damaged one."""


class Remote(NamedTuple):
    """A file somewhere else."""

    file: str
    """Its name."""
    addresses: tuple[str, ...]
    """Where it is; the first that works is taken."""
    bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None
    """Or its beginning."""


def home() -> Path:
    """Where fetched files are kept: MMMASKDINO_HOME, or `mmmaskdino` in the user's folder for caches."""
    caches = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return Path(os.environ.get(HOME) or Path(caches) / 'mmmaskdino').expanduser()


def switched_on(variable: str) -> bool:
    """Whether a variable of the environment says yes."""
    return os.environ.get(variable, '').lower() not in ('', '0', 'false', 'no', 'off')


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process of the machine at a time does what is inside; the others wait. The lock of a killed one is free.

    Args:
        path: File of the lock; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f'waiting for another process that holds {path}', file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def download(remote: Remote, folder: Path, by_hand: Path) -> tuple[Path, dict[str, Any]]:
    """Fetch a file, or pick it up; the caller holds a lock.

    Args:
        remote: The file.
        folder: Where it is stored, with `.part` before the suffix; what was interrupted is resumed from there.
        by_hand: Folder in which a file is picked up that was fetched by hand.

    Returns:
        The file, and what :func:`check_file` has found.

    Raises:
        FetchError: There is no way to get it, or it is wrong.
    """
    ready = by_hand / remote.file
    part = (folder / remote.file).with_suffix(f'.part{ready.suffix}')
    check_reachable(remote, by_hand)
    if ready.is_file():
        return ready, check_file(ready, remote)
    for path in (folder, by_hand):
        path.mkdir(parents=True, exist_ok=True)
    mirror = os.environ.get(MIRROR)
    mirrors = (f'{mirror.rstrip("/")}/{remote.file}',) if mirror else ()
    faults = {}
    for address in (*mirrors, *remote.addresses):
        print(f'fetching {address}', file=sys.stderr)
        try:
            return part, _download_from(address, part, remote)
        except FetchError as error:
            faults[address] = f'  {address}: {error}'
    raise FetchError(_by_hand_message('it cannot be fetched', faults.values(), remote, by_hand))


def check_reachable(remote: Remote, by_hand: Path) -> None:
    """Reject a file that would have to be fetched where nothing may be.

    Raises:
        FetchError: MMMASKDINO_OFFLINE is set, and the file was not fetched by hand.
    """
    if switched_on(OFFLINE) and not (by_hand / remote.file).is_file():
        places = (f'  {address}' for address in remote.addresses)
        raise FetchError(_by_hand_message(f'{OFFLINE} is set', places, remote, by_hand))


def check_file(path: Path, remote: Remote) -> dict[str, Any]:
    """Compare a file with what is known of it.

    Returns:
        Its `bytes`, `md5` and `sha256`.

    Raises:
        FetchError: It is another file.
    """
    sums: dict[str, Any] = dict(md5=hashlib.md5(usedforsecurity=False), sha256=hashlib.sha256())
    with open(path, 'rb') as file:
        start = file.read(512).lstrip().lower()
        file.seek(0)
        while chunk := file.read(CHUNK):
            for digest in sums.values():
                digest.update(chunk)
    found: dict[str, int | str] = {'bytes': path.stat().st_size}
    found |= {name: digest.hexdigest() for name, digest in sums.items()}
    if start.startswith((b'<!doctype', b'<html', b'<?xml')):
        raise _WrongFileError(f'{path.name} is a web page, no file of weights (a login, a proxy, a wrong address?)')
    for name, value in found.items():
        expected = getattr(remote, name)
        if expected is not None and not str(value).startswith(str(expected).lower()):
            raise _WrongFileError(f'{path} has the wrong {name}: {value}, expected {expected}')
    return found


def _by_hand_message(why: str, places: Iterable[str], remote: Remote, by_hand: Path) -> str:
    facts = [f'{key} {value}' for key, value in zip(remote._fields[2:], remote[2:], strict=True) if value]
    lines = (
        f'{remote.file} is not on this disk, and {why}:',
        *places,
        f'  what is known of it: {", ".join(facts) or "neither size nor checksum"}',
        f'  fetched by hand, it is picked up from the folder {by_hand}',
        f'  {HOME} names another place for that folder, {MIRROR} an address to look at first',
    )
    return '\n'.join(lines)


def _download_from(address: str, part: Path, remote: Remote) -> dict[str, Any]:
    """Fetch from one address; what is not right is removed, and if it began with an older part, fetched anew."""
    known = remote.md5 or remote.sha256
    while True:
        if not known:
            part.unlink(missing_ok=True)  # nothing would tell that the file has changed meanwhile
        resumed = part.is_file()
        _receive_patiently(address, part, remote.bytes if known else None)
        try:
            return check_file(part, remote)
        except _WrongFileError:
            part.unlink()
            if not resumed:
                raise


def _receive_patiently(address: str, part: Path, size: int | None) -> None:
    problem: Exception | None = None
    for attempt in range(ATTEMPTS):
        time.sleep(SECONDS * 2 ** (attempt - 1) if attempt else 0)
        try:
            return _receive(address, part, size)
        except urllib.error.HTTPError as error:
            have = part.stat().st_size if part.is_file() else 0
            if error.code == 416 and error.headers.get('Content-Range') == f'bytes */{have}':
                return None
            if error.code == 416:
                part.unlink(missing_ok=True)
            elif error.code not in _TEMPORARY:
                raise FetchError(f'HTTP {error.code} {error.reason}') from error
            problem = error
        except (OSError, http.client.HTTPException) as error:
            problem = error
            if isinstance(getattr(error, 'reason', None), socket.gaierror):  # no such name, or no network at all
                break
    raise FetchError(f'{problem} ({attempt + 1} attempt{"s" * bool(attempt)})') from problem


def _receive(address: str, part: Path, size: int | None) -> None:
    """One attempt, from where the part ends if the server can do that.

    Raises:
        FetchError: It would be in vain to try again.
        OSError: The server does not answer, or not all of the file has come.
    """
    start = part.stat().st_size if part.is_file() else 0
    if size is not None and start == size:
        return
    headers = {'User-Agent': f'mmmaskdino/{__version__}', 'Accept-Encoding': 'identity'}
    headers |= {'Range': f'bytes={start}-'} if start else {}
    url = address if '://' in address else Path(address).absolute().as_uri()
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as response:
        resumes = response.status == 206 and response.headers.get('Content-Range', '').startswith(f'bytes {start}-')
        start = start if resumes else 0
        length = response.headers.get('Content-Length')
        total = start + int(length) if length else None
        if size is not None and total not in (None, size):
            page = ', a web page' if response.headers.get_content_type() == 'text/html' else ''
            raise _WrongFileError(f'the server offers {total} bytes{page}; expected {size}')
        _store(response, part, start, total)
    if total is not None and part.stat().st_size < total:
        raise ConnectionError(f'the connection ended after {part.stat().st_size} of {total} bytes')


def _store(response: http.client.HTTPResponse, part: Path, start: int, total: int | None) -> None:
    bar = Progress(total=total, initial=start, unit='B', unit_scale=True, desc=part.name.replace('.part', ''))
    with bar, open(part, 'ab' if start else 'wb') as file:
        while chunk := response.read(CHUNK):
            try:
                file.write(chunk)
                file.flush()
            except OSError as error:
                free = shutil.disk_usage(part.parent).free / 1e6
                raise FetchError(
                    f'{part} cannot be written: {error.strerror} ({free:.0f} MB are free; {HOME} names another folder)'
                ) from error
            bar.update(len(chunk))
        os.fsync(file.fileno())  # before it gets another name


def digits_in(name: str) -> str | None:
    """The beginning of the SHA-256 in a name such as `model-1a2b3c4d.pth`, as torch.hub and OpenMMLab write it."""
    match = re.search(r'-([0-9a-f]{8,64})\.[a-z]+$', name)
    return match[1] if match else None
