"""What a walk through folders finds."""

import os
from pathlib import Path

import pytest

from mmmaskdino.datasets.folders import is_leftover, list_files, walk


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    'name', ['.DS_Store', '._a.jpg', 'Thumbs.db', '__MACOSX', '.ipynb_checkpoints', 'desktop.ini', '@eaDir']
)
def test_leftovers(name: str) -> None:
    assert is_leftover(name) and not is_leftover(name.strip('._@') + '_1')


def test_leftovers_are_not_found(tmp_path: Path) -> None:
    touch(tmp_path, 'a.jpg', '._a.jpg', 'deep/b.jpg', '__MACOSX/a.jpg', 'deep/.ipynb_checkpoints/b.jpg', 'Thumbs.db')
    assert list_files(tmp_path, '') == ['a.jpg', 'deep/b.jpg']


def test_links_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, 'data/z/a.jpg', 'elsewhere/b.jpg', 'elsewhere/deep/c.jpg')
    data = tmp_path / 'data'
    (data / 'linked').symlink_to(tmp_path / 'elsewhere')
    (data / 'again').symlink_to('z')
    (data / 'z' / 'parent').symlink_to(data)
    (tmp_path / 'elsewhere' / 'itself').symlink_to('.')
    (data / 'broken.jpg').symlink_to('nowhere')
    assert list_files(data, '.jpg') == ['broken.jpg', 'linked/b.jpg', 'linked/deep/c.jpg', 'z/a.jpg']


def test_folders_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, 'a.jpg', 'locked/b.jpg', 'open/c.jpg')
    scan = os.scandir

    def reject(folder):
        if Path(folder).name == 'locked':
            raise PermissionError(13, 'Permission denied', str(folder))
        return scan(folder)

    monkeypatch.setattr(os, 'scandir', reject)
    assert [names for _, names in walk(tmp_path, skip_locked=True)] == [['a.jpg'], ['c.jpg']]
    with pytest.raises(PermissionError, match='locked'):
        list(walk(tmp_path))


def test_depth_and_what_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, 'a', '1/b', '1/2/c', 'results/d')
    left_out = [tmp_path / 'results', tmp_path]  # but the folder itself was asked for
    assert [names for _, names in walk(tmp_path, 1, left_out)] == [['a'], ['b']]
