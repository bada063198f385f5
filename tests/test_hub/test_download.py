"""Whatever a server, the network or the disk do: the file is right, or it is not there."""

from __future__ import annotations

import errno
import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mmmaskdino.hub import FetchError, download
from mmmaskdino.hub.download import ATTEMPTS, Remote, check_file, digits_in

CONTENT = bytes(range(256)) * 40_000  # 10 MB, several chunks
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def remote(server) -> Remote:
    return Remote('a.pth', (server.add('a.pth', CONTENT),), len(CONTENT), MD5, SHA256[:8])


@pytest.fixture
def fetch(home: Path):
    def run(remote: Remote) -> Path:
        path, found = download.download(remote, home / 'models', home / 'downloads')
        assert found == {'bytes': path.stat().st_size, 'md5': MD5, 'sha256': SHA256}
        assert path.read_bytes() == CONTENT
        return path

    return run


@pytest.fixture
def part(home: Path) -> Path:
    """What an interrupted download has left."""
    path = home / 'models' / 'a.part.pth'
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:1_000_000])
    return path


def test_plain(fetch, remote: Remote, server, home: Path) -> None:
    assert fetch(remote) == home / 'models' / 'a.part.pth'
    assert server.requests == [('/a.pth', None)]


def test_resumes(fetch, remote: Remote, server, part: Path) -> None:
    fetch(remote)
    assert server.requests == [('/a.pth', 'bytes=1000000-')]


def test_a_server_that_ignores_ranges(fetch, remote: Remote, server, part: Path) -> None:
    server.faults = ['no ranges']
    fetch(remote)
    assert len(server.requests) == 1


def test_a_part_of_another_file_is_fetched_anew(fetch, remote: Remote, server, part: Path) -> None:
    part.write_bytes(b'x' * 1_000_000)
    fetch(remote)
    assert [asked for _, asked in server.requests] == ['bytes=1000000-', None]


def test_a_part_that_is_complete_or_too_long(fetch, remote: Remote, server, part: Path) -> None:
    part.write_bytes(CONTENT)
    fetch(remote)
    assert not server.requests
    fetch(remote._replace(bytes=None))  # the server says that there is no more
    part.write_bytes(CONTENT + b'x')
    fetch(remote)
    assert [asked for _, asked in server.requests] == ['bytes=10240000-', 'bytes=10240001-', None]


def test_nothing_is_resumed_without_a_checksum(fetch, remote: Remote, server, part: Path) -> None:
    part.write_bytes(b'x' * 1_000_000)
    fetch(Remote('a.pth', remote.addresses))
    assert server.requests == [('/a.pth', None)]


@pytest.mark.parametrize('faults', [['cut', 'cut', 'cut'], [503, 429], ['cut', 500, 'cut'], [416, 'cut']])
def test_goes_on_after_interruptions(fetch, remote: Remote, server, faults: list) -> None:
    server.faults = list(faults)
    fetch(remote)
    assert len(server.requests) == len(faults) + 1


def test_a_length_that_nobody_told(fetch, remote: Remote, server, part: Path) -> None:
    """The connection ends in mid-file, which nothing but the size tells."""
    server.faults = ['silent']
    fetch(remote)
    part.unlink()
    server.faults = ['silent']
    with pytest.raises(FetchError, match='wrong md5'):
        fetch(remote._replace(bytes=None))
    assert not part.exists()


@pytest.mark.parametrize(
    ('faults', 'message'),
    [
        ([404], 'HTTP 404'),
        ([403], 'HTTP 403'),
        ([503] * ATTEMPTS, 'HTTP Error 503'),
        (['page'], 'the server offers .* bytes, a web page; expected 10240000'),
    ],
)
def test_the_next_address_is_taken(fetch, remote: Remote, server, faults: list, message: str) -> None:
    server.faults = list(faults)
    with pytest.raises(FetchError, match=message):
        fetch(remote)
    server.faults = list(faults)
    fetch(remote._replace(addresses=(*remote.addresses, server.add('mirror/b.pth', CONTENT))))
    assert server.requests[-1][0] == '/mirror/b.pth'


def test_a_web_page_with_status_200(fetch, remote: Remote, server, home: Path) -> None:
    server.faults = ['page']
    with pytest.raises(FetchError, match='is a web page, no file of weights'):
        fetch(remote._replace(bytes=None))
    assert not list((home / 'models').iterdir())


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (dict(bytes=5), 'offers 10240000 bytes; expected 5'),
        (dict(md5='0' * 32), f'wrong md5: {MD5}, expected 0000'),
        (dict(sha256='00000000'), f'wrong sha256: {SHA256}, expected 00000000'),
    ],
)
def test_another_file_is_not_kept(fetch, remote: Remote, home: Path, values: dict, message: str) -> None:
    with pytest.raises(FetchError, match=message):
        fetch(remote._replace(**values))
    assert not list((home / 'models').iterdir())


def test_a_full_disk(fetch, remote: Remote, server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullFile:
        def __init__(self, path, mode):
            self.file, self.left = Path(path).open(mode), 3_000_000  # noqa: SIM115

        def write(self, data):
            self.left -= len(data)
            if self.left < 0:
                raise OSError(errno.ENOSPC, 'No space left on device')
            self.file.write(data)

        def flush(self):
            self.file.flush()

        def fileno(self):
            return self.file.fileno()

        def __enter__(self):
            return self

        def __exit__(self, *args):
            self.file.close()

    with monkeypatch.context() as patch:
        patch.setattr(download, 'open', FullFile, raising=False)
        with pytest.raises(FetchError, match='No space left on device .* MB are free; MMMASKDINO_HOME names another'):
            fetch(remote)
    assert len(server.requests) == 1, 'it is not tried again'
    fetch(remote)
    assert server.requests[1][1].startswith('bytes='), 'what has come is not lost'


def test_a_folder_that_cannot_be_written(remote: Remote, home: Path) -> None:
    home.write_text('a file')
    with pytest.raises(OSError):
        download.download(remote, home / 'models', home / 'downloads')


def test_offline_says_all_that_a_person_needs(fetch, remote, server, home, monkeypatch) -> None:
    monkeypatch.setenv(download.OFFLINE, '1')
    with pytest.raises(FetchError) as error:
        fetch(remote)
    for fact in (remote.addresses[0], 'a.pth', str(len(CONTENT)), MD5, str(home / 'downloads'), 'MMMASKDINO_OFFLINE'):
        assert fact in str(error.value)
    assert not server.requests
    (home / 'downloads').mkdir(parents=True)
    (home / 'downloads' / 'a.pth').write_bytes(CONTENT)
    assert fetch(remote) == home / 'downloads' / 'a.pth'
    (home / 'downloads' / 'a.pth').write_bytes(CONTENT[:-1])
    with pytest.raises(FetchError, match='wrong bytes: 10239999'):
        fetch(remote)


def test_without_network_the_message_is_the_same(fetch, remote: Remote, home: Path) -> None:
    with pytest.raises(FetchError, match=rf'(?s)http://127.0.0.1:1/a.pth: .*refused.*md5 {MD5}.*{home}/downloads'):
        fetch(remote._replace(addresses=('http://127.0.0.1:1/a.pth',)))


def test_a_mirror_comes_first(fetch, remote: Remote, server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add('mirror/a.pth', CONTENT)
    monkeypatch.setenv(download.MIRROR, server.url + 'mirror/')
    fetch(remote)
    assert server.requests == [('/mirror/a.pth', None)]


def test_proxies_are_honoured(fetch, remote: Remote, server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('http_proxy', server.url)
    monkeypatch.delenv('no_proxy', raising=False)
    monkeypatch.setattr('urllib.request._opener', None)  # a process reads the variables once
    fetch(remote._replace(addresses=('http://weights.example/a.pth',)))
    assert server.requests == [('http://weights.example/a.pth', None)]


def test_files_of_this_machine(fetch, tmp_path: Path) -> None:
    (tmp_path / 'a.pth').write_bytes(CONTENT)
    fetch(Remote('a.pth', (str(tmp_path / 'a.pth'),), md5=MD5))


HOLDER = """
import sys, filelock
with filelock.FileLock(sys.argv[1]):
    print('held', flush=True)
    sys.stdin.read()
"""


def hold(path: Path) -> subprocess.Popen:
    """Another process that holds a lock until its input is closed."""
    path.parent.mkdir(exist_ok=True)
    command = [sys.executable, '-c', HOLDER, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b'held\n'
    return process


def test_the_lock_of_a_killed_process_is_free(home: Path, capsys: pytest.CaptureFixture) -> None:
    with hold(home / 'lock') as process:
        process.kill()
    with download.locked(home / 'lock'):
        pass
    assert 'waiting' not in capsys.readouterr().err


def test_a_lock_is_waited_for(home: Path, capsys: pytest.CaptureFixture) -> None:
    with hold(home / 'lock') as process:
        released = threading.Event()
        threading.Timer(0.3, lambda: (released.set(), process.stdin.close())).start()
        with download.locked(home / 'lock'):
            assert released.is_set()
    assert 'waiting for another process' in capsys.readouterr().err


def test_digits_of_names() -> None:
    assert digits_in('resnet50-0676ba61.pth') == '0676ba61'
    assert digits_in('R-50.pkl') is None and digits_in('model-deadbee.pth') is None
    assert digits_in('maskdino_r50_panoptic_pq53.0.pth') is None


def test_what_is_found_in_a_file(tmp_path: Path) -> None:
    (tmp_path / 'a').write_bytes(CONTENT)
    assert check_file(tmp_path / 'a', Remote('a', ())) == {'bytes': len(CONTENT), 'md5': MD5, 'sha256': SHA256}
