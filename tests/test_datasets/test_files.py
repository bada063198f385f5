"""Files and folders."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from mmmaskdino.datasets.files import (
    DataError,
    check_num_pixels,
    find_missing_files,
    is_leftover,
    list_files,
    read_file,
    walk,
)


def test_content_is_returned(tmp_path):
    (tmp_path / 'x').write_bytes(b'abc')
    assert read_file(str(tmp_path / 'x')) == b'abc'
    assert read_file(str(tmp_path / 'x'), {'backend': 'local'}) == b'abc'


def test_missing_empty_and_unreadable_files_are_named(tmp_path):
    (tmp_path / 'empty').touch()
    for name, message in {'empty': '0 bytes', 'missing': 'cannot be read', '.': 'cannot be read'}.items():
        path = str(tmp_path / name)
        with pytest.raises(DataError, match=message) as caught:
            read_file(path)
        assert path in str(caught.value)


def test_missing_files_are_found_in_order(tmp_path):
    (tmp_path / 'deep').mkdir()
    for name in ('a.jpg', 'deep/b.jpg'):
        (tmp_path / name).touch()
    paths = [f'{tmp_path}/{name}' for name in ('z.jpg', 'a.jpg', 'deep/b.jpg', 'deep/a.jpg', 'nowhere/b.jpg')]
    assert find_missing_files(paths) == [paths[0], paths[3], paths[4]]
    assert find_missing_files([]) == []


def test_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.jpg').touch()
    assert find_missing_files(['a.jpg', 'b.jpg', './a.jpg']) == ['b.jpg']


def test_each_folder_is_listed_once_and_remote_files_are_not_looked_for(tmp_path, monkeypatch):
    listed = []
    monkeypatch.setattr(os, 'listdir', lambda folder: listed.append(folder) or [f'{i}.jpg' for i in range(1000)])
    assert find_missing_files([f'{tmp_path}/{i}.jpg' for i in range(1000)]) == []
    assert listed == [str(tmp_path)]
    assert find_missing_files(['http://127.0.0.1/a.jpg']) == []
    assert len(listed) == 1


@pytest.fixture
def bomb() -> bytes:
    """A PNG of some 20 kB that is 12000 pixels high and wide."""
    file = io.BytesIO()
    Image.new('1', (12000, 12000)).save(file, 'PNG')
    assert file.tell() < 100_000
    return file.getvalue()


@pytest.mark.filterwarnings('error')
def test_what_would_fill_the_memory_is_rejected(bomb):
    with pytest.raises(DataError, match='bomb.png: the image has 12000 x 12000 pixels, expected at most 100000000'):
        check_num_pixels(bomb, 'bomb.png')
    check_num_pixels(bomb, 'bomb.png', max_pixels=200_000_000)


def test_what_pillow_itself_rejects(bomb, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 50_000_000)
    with pytest.raises(DataError, match='bomb.png: .*exceeds limit'):
        check_num_pixels(bomb, 'bomb.png')
    check_num_pixels(bomb, 'bomb.png', max_pixels=200_000_000)


def test_what_is_no_image_is_left_to_the_decoder():
    check_num_pixels(b'text', 'a.txt')
    check_num_pixels(b'\x89PNG\r\n\x1a\n', 'a.png')


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
