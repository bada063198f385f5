import errno
import os
from pathlib import Path

import pytest
from mmengine import fileio

from mmmaskdino.engine import AtomicLocalBackend


def test_writes_what_mmengine_writes(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'folder' / 'a.txt'
    fileio.put(b'one', path, backend_args=dict(backend='atomic'))
    assert path.read_bytes() == b'one'
    fileio.put_text('zwölf', path, backend_args=dict(backend='atomic'))
    assert path.read_text(encoding='utf-8') == 'zwölf'
    assert os.listdir(path.parent) == ['a.txt']


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*args) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    path = tmp_path / 'a.pth'
    path.write_bytes(b'old')
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match='No space left'):
        AtomicLocalBackend().put(b'new', path)
    assert os.listdir(tmp_path) == ['a.pth'] and path.read_bytes() == b'old'


def test_the_content_is_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spy(name: str) -> None:
        do = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args: calls.append(name) or do(*args))

    calls = []
    spy('fsync')
    spy('replace')
    AtomicLocalBackend().put(b'new', tmp_path / 'a.pth')
    assert calls == ['fsync', 'replace', 'fsync']  # of the file, then of the folder


def test_removing_afterwards(tmp_path: Path) -> None:
    backend = AtomicLocalBackend()
    old = [tmp_path / name for name in ('a', 'b', 'c')]
    for path in old:
        path.write_bytes(b'')
    with pytest.raises(OSError), backend.removing_afterwards():
        backend.remove(old[0])
        raise OSError
    with backend.removing_afterwards():
        backend.remove(old[1])
        assert old[1].exists()
    backend.remove(old[2])
    assert [path.exists() for path in old] == [True, False, False]
