"""Going on with what is missing, whatever has ended the run before."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmmaskdino.apis import Predictor, predict_files
from mmmaskdino.apis.inference.journal import FOLDER, Head, Journal
from mmmaskdino.cli.main import main

EVERYTHING = ('pictures', 'instances', 'panoptic', 'semantic')


@pytest.fixture
def panoptic(model_files) -> Predictor:
    return Predictor(*model_files('panoptic'), device='cpu', score_thr=0.0, max_per_image=3)


@pytest.fixture
def images(make_image: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder of five."""
    for number in range(5):
        make_image(f'in/{number * "x"}{number}.png', (40, 50 + number % 2))
    return tmp_path / 'in'


def content_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder of results but its journal."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file() and FOLDER not in path.parts
    }


def test_only_what_is_missing_is_done_and_the_files_are_those_of_one_run(
    panoptic, images: Path, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    def die(done: int, total: int) -> None:
        if done == 2:
            raise Killed

    out = tmp_path / 'out'
    predict_files(panoptic, images, tmp_path / 'whole', save=EVERYTHING)
    with pytest.raises(Killed):
        predict_files(panoptic, images, out, save=EVERYTHING, on_progress=die, workers=0)
    done = []
    summary = predict_files(panoptic, images, out, save=EVERYTHING, on_result=lambda x: done.append(x.file_name))
    assert (summary.num_done, summary.num_before, len(done)) == (3, 2, 3)
    assert content_of(out) == content_of(tmp_path / 'whole')
    assert predict_files(panoptic, images, out, save=EVERYTHING).num_done == 0
    assert content_of(out) == content_of(tmp_path / 'whole')


def test_failed_new_and_changed_images_are_done(panoptic, images: Path, make_image, tmp_path: Path) -> None:
    broken = images / 'broken.jpg'
    broken.write_text('no image')
    out = tmp_path / 'out'
    first = predict_files(panoptic, images, out, save=['instances'])
    assert (first.num_done, [Path(failure.name).name for failure in first.failures]) == (5, ['broken.jpg'])
    make_image('in/0.png', (20, 30))
    make_image('in/new.png')
    os.replace(make_image('good.jpg'), broken)
    second = predict_files(panoptic, images, out, save=['instances'])
    assert (second.num_done, second.num_before, second.failures) == (3, 4, [])
    content = json.loads((out / 'instances.json').read_text())
    sizes = {image['file_name']: (image['height'], image['width']) for image in content['images']}
    assert len(sizes) == len(content['images']) == 7 and sizes['0.png'] == (20, 30)
    (images / 'new.png').unlink()  # its results stay
    predict_files(panoptic, images, out, save=['instances'])
    assert len(json.loads((out / 'instances.json').read_text())['images']) == 7


def test_a_run_without_a_result_blocks_no_other_settings(panoptic, images: Path, make_image, tmp_path: Path) -> None:
    """But files that are not its own stay, and results that are there are compared."""
    broken, out = tmp_path / 'broken.jpg', tmp_path / 'out'
    broken.write_text('no image')
    out.mkdir()
    (out / 'instances.json').write_text('of a person')
    assert len(predict_files(panoptic, broken, out).failures) == 1
    with pytest.raises(FileExistsError, match=r'instances.json would be replaced; allow it with --overwrite'):
        predict_files(panoptic, images, out, save=['instances'])
    assert (out / 'instances.json').read_text() == 'of a person'
    assert len(predict_files(panoptic, broken, out, save=['panoptic']).failures) == 1
    assert predict_files(panoptic, images, out, save=['pictures', 'panoptic']).num_done == 5
    assert len(list((out / FOLDER).glob('*.jsonl'))) == 1  # what failed before is forgotten
    with pytest.raises(FileExistsError, match='other settings: save was panoptic pictures, is panoptic'):
        predict_files(panoptic, broken, out, save=['panoptic'])


def test_files_that_were_deleted_are_made_again(panoptic, images: Path, tmp_path: Path) -> None:
    predict_files(panoptic, images, tmp_path / 'out', save=EVERYTHING)
    deleted = [
        next((tmp_path / 'out' / 'pictures').rglob('*.jpg')),
        next((tmp_path / 'out' / 'panoptic').rglob('*.png')),
    ]
    for path in deleted:
        path.unlink()
    assert 1 <= predict_files(panoptic, images, tmp_path / 'out', save=EVERYTHING).num_done <= 2
    assert all(path.exists() for path in deleted)


def test_more_files_than_may_be_open(panoptic, images: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr('mmmaskdino.apis.inference.journal.MOST_OPEN', 1)
    for name in sorted(path.name for path in images.iterdir()):  # a run, and so a file of the journal, for each
        predict_files(panoptic, images / name, tmp_path / 'out', save=['semantic'])
    predict_files(panoptic, images, tmp_path / 'whole', save=['instances'])
    journal = Journal(tmp_path / 'out')
    journal.reread()
    heads = [head.name for head, _ in journal.results({})]
    assert len(list((tmp_path / 'out' / '.journal').glob('*.jsonl'))) > 2 and len(heads) == len(list(images.iterdir()))


def test_a_video_is_done_as_a_whole(panoptic, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / 'film.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    for value in (0, 100, 200):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files(panoptic, tmp_path / 'film.avi', tmp_path / 'out', on_progress=interrupt)
    assert not list((tmp_path / 'out' / 'pictures').iterdir())
    assert predict_files(panoptic, tmp_path / 'film.avi', tmp_path / 'out').num_done == 3
    assert [path.name for path in (tmp_path / 'out' / 'pictures').iterdir()] == ['film.mp4']
    again = predict_files(panoptic, tmp_path / 'film.avi', tmp_path / 'out')
    assert (again.num_done, again.num_before) == (0, 1)


def test_other_weights_and_a_second_run_at_the_same_time(panoptic, model_files, images: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    predict_files(panoptic, images / '0.png', out)
    other = Predictor(*model_files('panoptic'), device='cpu', score_thr=0.0, max_per_image=3)
    next(other.model.parameters()).data.add_(1)
    with pytest.raises(FileExistsError, match='out has results of other settings: weights was [0-9a-f]{12}, is'):
        predict_files(other, images, out)
    with Journal(out).alone(), pytest.raises(FileExistsError, match='another run is writing into'):
        predict_files(panoptic, images, out)


def test_lines_that_are_not_whole_count_for_nothing(tmp_path: Path) -> None:
    """Cut or overwritten at any byte, the line is as if it were not there, and the others stay."""
    journal = Journal(tmp_path)
    with journal.alone():
        journal.open(dict(a=1), overwrite=False)
    journal.start('000001-0')
    for name in 'ab':
        journal.add(Head(name, f'/{name}.png', [1, 2]), dict(file_name=name))
    journal.close()
    path = tmp_path / FOLDER / '000001-0.jsonl'
    whole = path.read_bytes()
    first = whole.index(b'\n') + 1
    for cut in range(first, len(whole)):
        path.write_bytes(whole[:cut])
        journal.reread()
        assert [head.name for head, _ in journal.results({})] == ['a']
    for place in range(first, len(whole) - 1, 7):
        path.write_bytes(whole[:place] + b'\0' + whole[place + 1 :])
        journal.reread()
        assert journal.find('a') and not journal.find('b')
    assert journal.next_run() == 2


def test_killed_in_mid_run(model_files, images: Path, tmp_path: Path) -> None:
    """SIGKILL, with no warning: another run goes on, and the result is that of one run."""
    files, out = model_files('panoptic'), tmp_path / 'out'
    argv = ['predict', images, '--config', files.config, '--weights', files.weights, '--device', 'cpu', '--save']
    argv = [str(word) for word in [*argv, *EVERYTHING, '--score-thr', '0', '--max-per-image', '3', '--out']]
    assert main([*argv, str(tmp_path / 'whole')]) == 0
    for number in range(200):  # more than are done before the kill
        shutil.copy(images / '0.png', images / f'more{number}.png')
    process = multiprocessing.get_context('fork').Process(target=main, args=([*argv, str(out)],))
    process.start()
    while process.is_alive() and not any(out.glob(f'{FOLDER}/*.jsonl')):
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    for path in images.glob('more*'):
        path.unlink()
    assert main([*argv, str(out)]) == 0
    content = content_of(out)
    for name, value in content_of(tmp_path / 'whole').items():
        if name.endswith('.json'):
            kept = [image for image in json.loads(content[name])['images'] if 'more' not in image['file_name']]
            assert kept == json.loads(value)['images']
        else:
            assert content[name] == value
