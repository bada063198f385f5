"""What is found in folders and videos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmmaskdino.apis.inference.reading import Limits
from mmmaskdino.apis.inference.sources import Video, find_images, is_many, is_video
from mmmaskdino.datasets.files import DataError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_images_of_subfolders_by_name(tmp_path: Path) -> None:
    touch(tmp_path, 'b.jpg', 'a.PNG', 'sub/b.jpg', 'notes.txt', '.hidden.jpg', '.git/a.jpg')
    images, others, root = find_images(tmp_path)
    assert root == tmp_path
    assert [image.file_name for image in images] == ['a.PNG', 'b.jpg', 'sub/b.jpg']
    assert [image.name for image in images] == ['a', 'b', 'sub/b']
    assert others == ['notes.txt']


def test_images_that_differ_in_the_suffix_alone_keep_it(tmp_path: Path) -> None:
    touch(tmp_path, 'a.jpg', 'a.png', 'B.jpg', 'b.webp', 'c.jpg')
    names = {image.file_name: image.name for image in find_images(tmp_path)[0]}
    assert names == {'a.jpg': 'a.jpg', 'a.png': 'a.png', 'B.jpg': 'B.jpg', 'b.webp': 'b.webp', 'c.jpg': 'c'}


def test_results_of_an_earlier_run_are_no_images(tmp_path: Path) -> None:
    touch(tmp_path, 'a.jpg', 'out/pictures/a.jpg')
    images = find_images(tmp_path, ((tmp_path / 'out').resolve(),)).files
    assert [image.file_name for image in images] == ['a.jpg']


def test_one_file_of_any_suffix(tmp_path: Path) -> None:
    touch(tmp_path, 'a.data')
    assert find_images(tmp_path / 'a.data')[0] == [(tmp_path / 'a.data', 'a.data', 'a')]


def test_nothing_to_predict(tmp_path: Path) -> None:
    touch(tmp_path, 'a.txt')
    with pytest.raises(DataError, match=r'no image in this folder .*\.webp'):
        find_images(tmp_path)
    with pytest.raises(DataError, match='nowhere: no such'):
        find_images(tmp_path / 'nowhere')


def test_frames_of_a_video(tmp_path: Path) -> None:
    path = tmp_path / 'film.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 12, (64, 48))
    for value in (0, 100, 200):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    video = Video(path, Limits())
    assert is_video(path) and not is_video(tmp_path / 'a.jpg')
    assert (video.fps, video.num_frames) == (12, 3)
    frames = list(video.frames())
    assert [name for name, _ in frames] == ['film/000000', 'film/000001', 'film/000002']
    assert [round(frame.mean(), -1) for _, frame in frames] == [0, 100, 200]
    with pytest.raises(DataError, match='64 x 48 pixels'):
        Video(path, Limits(max_megapixels=0.001))


def test_no_video(tmp_path: Path) -> None:
    touch(tmp_path, 'a.mp4')
    with pytest.raises(DataError, match='a.mp4: not a video'):
        Video(tmp_path / 'a.mp4', Limits())
    with pytest.raises(DataError, match='b.mp4: no such file'):
        Video(tmp_path / 'b.mp4', Limits())


def test_several_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, folders and patterns together: each image once, names relative to the folder that has them all."""
    touch(tmp_path, 'x/a.jpg', 'x/notes.txt', 'x/sub/b.png', 'y/a.jpg', 'y/film.mp4', 'y/data.csv')
    monkeypatch.chdir(tmp_path)
    images, others, root = find_images(['y/a.jpg', 'x', 'y/*', './x/**/*.png'])
    assert root == tmp_path
    assert [image.file_name for image in images] == ['y/a.jpg', 'x/a.jpg', 'x/sub/b.png', 'y/film.mp4']
    assert [image.is_video for image in images] == [False, False, False, True]
    assert others == ['notes.txt', 'y/data.csv']
    assert [image.file_name for image in find_images(['x/a.jpg', 'x/sub/b.png']).files] == ['a.jpg', 'sub/b.png']


def test_a_file_is_not_taken_for_a_pattern(tmp_path: Path) -> None:
    touch(tmp_path, '[1].jpg', '1.jpg')
    assert [image.file_name for image in find_images(tmp_path / '[1].jpg').files] == ['[1].jpg']
    assert not is_many(tmp_path / '[1].jpg') and is_many(str(tmp_path / '*.jpg')) and is_many(tmp_path)


def test_a_list_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are relative to the working folder or else to that of the list; what is missing is found out on reading."""
    touch(tmp_path, 'here/a.jpg', 'lists/b.jpg')
    listed = tmp_path / 'lists' / 'images.txt'
    listed.write_text('\ufeffa.jpg\nb.jpg\n\n missing.jpg \nhttp://127.0.0.1/x/c.jpg\n', encoding='utf-8')
    monkeypatch.chdir(tmp_path / 'here')
    images = find_images(listed).files
    assert [str(image.path) for image in images] == [
        'a.jpg',
        str(tmp_path / 'lists' / 'b.jpg'),
        'missing.jpg',
        'http://127.0.0.1/x/c.jpg',
    ]
    listed.write_text('other.txt')
    with pytest.raises(DataError, match='other.txt is another list'):
        find_images(listed)
    listed.write_text('\n')
    with pytest.raises(DataError, match='the list is empty'):
        find_images(listed)
    listed.write_bytes(b'\xff\xd8\xff')
    with pytest.raises(DataError, match='text in UTF-8'):
        find_images(listed)


@pytest.mark.parametrize('source', ['*.jpg', ['a.data', 'nowhere.jpg'], []])
def test_several_of_which_one_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source) -> None:
    touch(tmp_path, 'a.data')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match='no file has such a name|nowhere.jpg: no such file|nothing to predict'):
        find_images(source)


def test_names_of_addresses(tmp_path: Path) -> None:
    def names(*sources: str) -> list[str]:
        return [image.file_name for image in find_images(sources).files]

    assert names('https://a.org/x/photo%20one.jpg?width=3') == ['photo one.jpg']
    assert names('https://a.org/1/p.jpg', 'HTTP://b.org/1/p.jpg', '-') == ['a.org/1/p.jpg', 'b.org/1/p.jpg', 'stdin']
    assert names('http://a.org/..%2F..%2Fetc%2Fpass%00wd') == ['pass_wd']
    assert names('http://a.org') == ['a.org']
    assert len(names(f'http://a.org/{"x" * 300}.jpg')[0]) < 130
