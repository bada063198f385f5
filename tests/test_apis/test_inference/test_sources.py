"""What is found in folders and videos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmmaskdino.apis.inference.reading import Limits
from mmmaskdino.apis.inference.sources import Video, find_images, is_video
from mmmaskdino.datasets.files import DataError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_images_of_subfolders_by_name(tmp_path: Path) -> None:
    touch(tmp_path, 'b.jpg', 'a.PNG', 'sub/b.jpg', 'notes.txt', '.hidden.jpg', '.git/a.jpg')
    images, others = find_images(tmp_path)
    assert [image.file_name for image in images] == ['a.PNG', 'b.jpg', 'sub/b.jpg']
    assert [image.name for image in images] == ['a', 'b', 'sub/b']
    assert others == ['notes.txt']


def test_images_that_differ_in_the_suffix_alone_keep_it(tmp_path: Path) -> None:
    touch(tmp_path, 'a.jpg', 'a.png', 'B.jpg', 'b.webp', 'c.jpg')
    names = {image.file_name: image.name for image in find_images(tmp_path)[0]}
    assert names == {'a.jpg': 'a.jpg', 'a.png': 'a.png', 'B.jpg': 'B.jpg', 'b.webp': 'b.webp', 'c.jpg': 'c'}


def test_results_of_an_earlier_run_are_no_images(tmp_path: Path) -> None:
    touch(tmp_path, 'a.jpg', 'out/pictures/a.jpg')
    images, _ = find_images(tmp_path, ((tmp_path / 'out').resolve(),))
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
