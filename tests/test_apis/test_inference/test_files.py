"""From image files to result files."""

from __future__ import annotations

import errno
import json
import os
import re
import zipfile
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mmmaskdino.apis import Limits, Predictor, predict_files
from mmmaskdino.apis.inference.records import CocoFile
from mmmaskdino.cli.main import main
from mmmaskdino.datasets import CheckedCocoPanopticDataset
from mmmaskdino.datasets.shapes import METAINFO
from mmmaskdino.output_files import OutputFolder

EVERYTHING = ('pictures', 'instances', 'panoptic', 'semantic')
BROKEN = {'text_named_jpg.jpg', 'truncated.jpg', 'zero_bytes.jpg'}


@pytest.fixture
def panoptic(model_files) -> Predictor:
    return Predictor(*model_files('panoptic'), device='cpu', score_thr=0.0, max_per_image=5)


def test_result_files(panoptic, make_image, tmp_path: Path) -> None:
    """Read back with pycocotools and the datasets of this package, they are what was predicted."""
    images = [make_image('in/a.png'), make_image('in/deep/b.jpg', (40, 30))]
    out = tmp_path / 'out'
    summary = predict_files(panoptic, tmp_path / 'in', out, save=EVERYTHING)
    assert (summary.num_done, summary.failures, summary.others) == (2, [], [])
    coco = COCO(str(out / 'instances.json'))
    assert [image['file_name'] for image in coco.dataset['images']] == ['a.png', 'deep/b.jpg']
    load = [dict(type='LoadImageFromFile'), dict(type='mmdet.LoadCocoPanopticAnnotations')]
    dataset = CheckedCocoPanopticDataset(
        ann_file=str(out / 'panoptic.json'),
        data_prefix=dict(img=str(tmp_path / 'in'), seg=str(out / 'panoptic')),
        metainfo=METAINFO,
        pipeline=load,
    )
    for index, (path, name) in enumerate(zip(images, ('a', 'deep/b'), strict=True)):
        prediction = panoptic(path)
        sample = prediction.sample
        for number, annotation in enumerate(coco.imgToAnns[index + 1]):
            instance = sample.pred_instances[number]
            assert np.array_equal(coco.annToMask(annotation), instance.masks[0].numpy())
            x, y, width, height = annotation['bbox']
            assert [x, y, x + width, y + height] == pytest.approx(instance.bboxes[0].tolist(), abs=1e-4)
            assert (annotation['category_id'], annotation['score']) == (instance.labels + 1, instance.scores)
        assert number == 4
        labels = sample.pred_panoptic_seg.sem_seg[0].numpy() % 1000
        assert np.array_equal(dataset[index]['gt_seg_map'], np.where(labels == 10, 255, labels))
        semantic = np.asarray(Image.open(out / 'semantic' / f'{name}.png'))
        assert np.array_equal(semantic, sample.pred_sem_seg.sem_seg[0].numpy())
        assert Image.open(out / 'pictures' / f'{name}.jpg').size == prediction.image.shape[1::-1]
    assert (out / 'semantic_classes.txt').read_text().split() == list(METAINFO['classes'])
    assert not list(out.glob('*.part'))


def test_files_of_a_reduced_image_have_its_size(model_files, make_image, tmp_path: Path) -> None:
    predictor = Predictor(
        *model_files('panoptic'), device='cpu', score_thr=0.0, max_per_image=5, limits=Limits(reduce_above=0.005)
    )
    image = make_image('large.png', (100, 200))
    predict_files(predictor, image, tmp_path / 'out', save=EVERYTHING)
    coco = COCO(str(tmp_path / 'out' / 'instances.json'))
    small = predictor(image).sample
    for annotation, mask, box in zip(
        coco.dataset['annotations'], small.pred_instances.masks, small.pred_instances.bboxes, strict=True
    ):
        assert np.array_equal(coco.annToMask(annotation), np.kron(mask.numpy(), np.ones((2, 2), np.uint8)))
        assert annotation['bbox'][:2] == pytest.approx((2 * box[:2]).tolist(), abs=1e-4)
    for kind in ('semantic', 'panoptic'):
        assert Image.open(tmp_path / 'out' / kind / 'large.png').size == (200, 100)


@pytest.mark.parametrize('kind', ['panoptic', 'semantic'])
def test_every_odd_image(shared_data: Path, model_files, tmp_path: Path, capsys, kind: str) -> None:
    """Every readable one gets results, the others are named with the reason, and the exit status is 1."""
    files, folder = model_files(kind), shared_data / 'odd' / 'images'
    argv = ['predict', folder, '--config', files.config, '--weights', files.weights, '--out', tmp_path / 'out']
    argv += ['--device', 'cpu', '--batch-size', 4, '--save', 'pictures', kind]
    assert main([str(argument) for argument in argv]) == 1
    names = {path.name for path in folder.iterdir()}
    assert len(names) >= 15
    # photo.tif and photo.webp keep their suffixes.
    results_of = {name: name if name.startswith('photo.') else Path(name).stem for name in names - BROKEN}
    for results, suffix in (('pictures', '.jpg'), (kind, '.png')):
        found = {str(p.relative_to(tmp_path / 'out' / results)) for p in (tmp_path / 'out' / results).rglob('*.*')}
        assert found == {name + suffix for name in results_of.values()}
    printed = capsys.readouterr()
    assert f'{len(names - BROKEN)} image(s) done, 3 failed' in printed.out
    for name in BROKEN:
        assert f'no result for {folder / name}: ' in printed.err
    for name, result in results_of.items():
        with Image.open(folder / name) as image:
            turned = image.getexif().get(0x0112, 1) > 4
            size = image.size[::-1] if turned else image.size
        assert Image.open(tmp_path / 'out' / kind / f'{result}.png').size == size


def test_a_video(panoptic, tmp_path: Path) -> None:
    path = tmp_path / 'film.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    for value in (0, 100, 200):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    progress = []
    summary = predict_files(
        panoptic,
        path,
        tmp_path / 'out',
        save=('pictures', 'instances', 'semantic'),
        batch_size=2,
        on_progress=lambda *args: progress.append(args),
    )
    assert summary.num_done == 3 and progress == [(1, 3), (2, 3), (3, 3)]
    capture = cv2.VideoCapture(str(tmp_path / 'out' / 'pictures' / 'film.mp4'))
    assert [capture.read()[0] for _ in range(4)] == [True] * 3 + [False]
    names = [image['file_name'] for image in json.loads((tmp_path / 'out' / 'instances.json').read_text())['images']]
    assert names == ['film/000000', 'film/000001', 'film/000002']
    assert len(list((tmp_path / 'out' / 'semantic' / 'film').iterdir())) == 3


def test_videos_and_images_together(panoptic, make_image, tmp_path: Path) -> None:
    """Each video is a video again; one that cannot be read loses nothing of the others."""
    for name, length in (('one', 2), ('two', 3)):
        writer = cv2.VideoWriter(str(tmp_path / f'{name}.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
        for _ in range(length):
            writer.write(np.full((48, 64, 3), 99, np.uint8))
        writer.release()
    (tmp_path / 'broken.mp4').write_text('no video')
    sources = [tmp_path / name for name in ('one.avi', 'broken.mp4', 'a.png', 'two.avi')]
    make_image('a.png')
    outcomes = []
    summary = predict_files(panoptic, sources, tmp_path / 'out', batch_size=4, on_result=outcomes.append)
    assert summary.num_done == 6 and [Path(f.name).name for f in summary.failures] == ['broken.mp4']
    assert [o.file_name for o in outcomes] == [
        'a.png', 'one/000000', 'one/000001', 'two/000000', 'two/000001', 'two/000002'
    ]  # fmt: skip
    assert [o.is_frame for o in outcomes] == [False, True, True, True, True, True]
    for name, length in (('one', 2), ('two', 3)):
        capture = cv2.VideoCapture(str(tmp_path / 'out' / 'pictures' / f'{name}.mp4'))
        assert [capture.read()[0] for _ in range(length + 1)] == [True] * length + [False]
    assert outcomes[0].picture == tmp_path / 'out' / 'pictures' / 'a.jpg' and outcomes[0].picture.is_file()


def test_a_name_that_no_file_can_have_fails_alone(panoptic, make_image, tmp_path: Path) -> None:
    """Too long, and with the picture of another image in the place of its folder; the same again when called again."""
    image = make_image('image.png')
    names = ('n' * 300 + '.png', 'a.png', 'a.jpg/b.png', 'c.png')
    with zipfile.ZipFile(tmp_path / 'in.zip', 'w') as archive:
        for name in names:
            archive.write(image, name)
    for num_before in (0, 2):
        summary = predict_files(panoptic, tmp_path / 'in.zip', tmp_path / 'out', save=EVERYTHING)
        assert (summary.num_done, summary.num_before) == (2 - num_before, num_before)
        long, inside = summary.failures
        assert long.name.endswith(names[0]) and inside.name.endswith('a.jpg/b.png')
        assert re.match(r'its results cannot be written: File name too long \(.*nn.jpg\); give', long.reason)
        assert re.match(r'its results cannot be written: File exists \(.*/out/pictures/a.jpg\); give', inside.reason)
        assert sorted(path.name for path in (tmp_path / 'out' / 'pictures').iterdir()) == ['a.jpg', 'c.jpg']
    content = json.loads((tmp_path / 'out' / 'instances.json').read_text())
    assert [entry['file_name'] for entry in content['images']] == ['a.png', 'c.png']


def test_a_video_whose_film_cannot_be_written_is_a_failure(panoptic, make_image, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / 'film.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    for value in (0, 100):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    (tmp_path / 'out' / 'pictures' / 'film.mp4').mkdir(parents=True)
    sources = [tmp_path / 'film.avi', make_image('a.png')]
    for num_done in (2, 1):  # the video as a whole is tried again
        summary = predict_files(panoptic, sources, tmp_path / 'out', overwrite=num_done == 2)
        assert summary.num_done == num_done and [f.name for f in summary.failures] == ['film/000001']
        assert re.search(r'Is a directory \(.*pictures/film.mp4\)', summary.failures[0].reason)
    assert {path.name for path in (tmp_path / 'out' / 'pictures').iterdir()} == {'a.jpg', 'film.mp4'}


def test_what_concerns_every_image_ends_the_run(panoptic, make_image, tmp_path: Path, monkeypatch) -> None:
    images = [make_image('a.png'), make_image('b.png')]
    full = OSError(errno.ENOSPC, 'No space left on device')
    with monkeypatch.context() as context, pytest.raises(OSError, match='No space left'):
        context.setattr('mmmaskdino.apis.inference.writers.save_drawing', Mock(side_effect=full))
        predict_files(panoptic, images, tmp_path / 'out')
    assert predict_files(panoptic, images, tmp_path / 'out').num_done == 2
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'pictures').touch()
    with pytest.raises(FileExistsError, match='other/pictures is a file, in the place of a folder of results'):
        predict_files(panoptic, images, tmp_path / 'other', overwrite=True)


def test_results_of_an_earlier_run_are_not_replaced_silently(panoptic, make_image, tmp_path: Path) -> None:
    out, images = tmp_path / 'out', [make_image('a.png'), make_image('b.png')]
    predict_files(panoptic, images, out, save=['pictures', 'instances'])
    before = (out / 'instances.json').read_bytes()
    with pytest.raises(FileExistsError, match=r'other settings: save was instances pictures, is pictures\.'):
        predict_files(panoptic, images[0], out)
    other = make_image('other/a.png', (20, 30))
    with pytest.raises(FileExistsError, match=r'other settings: images in was .*, is .*/other'):
        predict_files(panoptic, other, out, save=['pictures', 'instances'])
    predict_files(panoptic, images[0], tmp_path / 'pictures')
    with pytest.raises(FileExistsError, match=r'another image of the name a: .*/a.png, and now .*/other/a.png'):
        predict_files(panoptic, other, tmp_path / 'pictures')
    assert predict_files(panoptic, images[1], tmp_path / 'pictures').num_done == 1  # beside it
    assert (out / 'instances.json').read_bytes() == before
    assert predict_files(panoptic, images[:1], out, save=['instances'], overwrite=True).num_done == 1
    assert [image['file_name'] for image in json.loads((out / 'instances.json').read_text())['images']] == ['a.png']
    (tmp_path / 'file').touch()
    with pytest.raises(FileExistsError, match='file is a file; the results go into a folder'):
        predict_files(panoptic, images, tmp_path / 'file', overwrite=True)
    (tmp_path / 'foreign').mkdir()
    (tmp_path / 'foreign' / 'instances.json').write_text('{}')
    with pytest.raises(FileExistsError, match='instances.json would be replaced; allow it with --overwrite'):
        predict_files(panoptic, images, tmp_path / 'foreign', save=['instances'])


def test_an_interrupted_run_leaves_sound_files(panoptic, make_image, tmp_path: Path) -> None:
    for name in ('a.png', 'b.png', 'c.png'):
        make_image(f'in/{name}')

    def interrupt(done: int, total: int) -> None:
        assert total == 3
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files(panoptic, tmp_path / 'in', tmp_path / 'out', save=['instances'], on_progress=interrupt)
    content = json.loads((tmp_path / 'out' / 'instances.json').read_text())
    # The third was read and perhaps written beside the second.
    assert [image['file_name'] for image in content['images']][:2] == ['a.png', 'b.png']


def test_nothing_is_written_outside(panoptic, make_image, tmp_path: Path) -> None:
    make_image('in/a.png')
    make_image('in/sub/b.png')
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'out' / 'pictures').mkdir(parents=True)
    os.symlink(tmp_path / 'elsewhere', tmp_path / 'out' / 'pictures' / 'sub')
    with pytest.raises(ValueError, match='leads out of the folder'):
        predict_files(panoptic, tmp_path / 'in', tmp_path / 'out')
    assert not list((tmp_path / 'elsewhere').iterdir())


def test_a_second_run_into_a_subfolder_predicts_the_same_images(panoptic, make_image, tmp_path: Path) -> None:
    make_image('in/a.png')
    for _ in range(2):
        summary = predict_files(panoptic, tmp_path / 'in', tmp_path / 'in' / 'results', overwrite=True)
        assert (summary.num_done, summary.others) == (1, [])


def test_results_that_the_model_does_not_give(model_files, make_image, tmp_path: Path) -> None:
    predictor = Predictor(*model_files('semantic'), device='cpu')
    with pytest.raises(ValueError, match='gives semantic, no instances and panoptic'):
        predict_files(predictor, make_image('a.png'), tmp_path / 'out', save=['instances'], draw='panoptic')


def test_command_line(model_files, make_image, tmp_path: Path, capsys) -> None:
    files, image = model_files('panoptic'), str(make_image('a.png'))
    argv = ['predict', image, '--config', str(files.config), '--weights', str(files.weights), '--device', 'cpu']
    argv += ['--out', str(tmp_path / 'out')]
    assert main([*argv, '--save', 'instances', '--score-thr', '0.0', '--max-per-image', '3']) == 0
    content = json.loads((tmp_path / 'out' / 'instances.json').read_text())
    assert len(content['annotations']) == 3
    assert len(COCO(str(tmp_path / 'out' / 'instances.json')).loadRes(content['annotations']).anns) == 3
    assert not (tmp_path / 'out' / 'pictures').exists()
    with pytest.raises(SystemExit) as stop:
        main([*argv, '--score-thr', '7'])
    assert 'mmmaskdino predict: test_cfg.score_thr must be' in stop.value.code
    with pytest.raises(SystemExit) as stop:
        main([*argv, '--save', 'instances'])
    assert 'test_cfg.score_thr was 0.0, is 0.3' in stop.value.code
    assert 'test_cfg.max_per_image was 3, is' in stop.value.code
    assert 'add --overwrite' in stop.value.code
    with pytest.raises(SystemExit) as stop:
        main([*argv, '--tta-scales', '1'])
    assert '--tta-scales and --tta-flips need --tta' in stop.value.code
    with pytest.raises(SystemExit) as stop:
        main(['predict', 'nowhere', *argv[2:]])
    assert stop.value.code == 'mmmaskdino predict: nowhere: no such file or folder'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--batch-size', '0'], '--batch-size must be above 0, got 0'),
        (['--workers', '-1'], '--workers must be at least 0, got -1'),
        (['--picture-side', '-5'], '--picture-side must be above 0, got -5'),
        (['--reduce-above', 'nan'], '--reduce-above must be above 0, got nan'),
        (['--max-megapixels', 'inf'], 'max_megapixels must be above 0 megapixels and finite, got inf'),
        (['--tta', '--tta-scales', 'nan'], r'expected finite scales above 0 .* got \[nan\]'),
        (['--score-thr', 'nan'], r'test_cfg.score_thr must be a number in \[0, 1\], got nan'),
    ],
)
def test_numbers_that_cannot_be(model_files, make_image, tmp_path: Path, options: list[str], message: str) -> None:
    files, out = model_files('panoptic'), tmp_path / 'out'
    argv = ['predict', make_image('a.png'), '--config', files.config, '--weights', files.weights, '--out', out]
    with pytest.raises(SystemExit, match=f'^mmmaskdino predict: {message}'):
        main([str(word) for word in [*argv, '--device', 'cpu', *options]])
    assert not out.exists()


def test_numbers_of_a_call_that_cannot_be(panoptic, make_image, tmp_path: Path) -> None:
    image = make_image('a.png')
    for options, message in (
        (dict(batch_size=0), 'expected batch_size from 1 and workers from 0, got 0 and 2'),
        (dict(workers=-1), 'expected batch_size from 1 and workers from 0, got 1 and -1'),
        (dict(max_side=0), 'the longest side of a picture must be at least 1 pixel, got 0'),
    ):
        with pytest.raises(ValueError, match=message):
            predict_files(panoptic, image, tmp_path / 'out', **options)
    assert not (tmp_path / 'out').exists()
    with pytest.raises(ValueError, match='at least 1 pixel, got -5'):
        panoptic(image).draw(max_side=-5)


def test_a_line_says_what_is_in_each_image(model_files, make_image, tmp_path: Path, capsys) -> None:
    files, out = model_files('panoptic'), tmp_path / 'out'
    make_image('in/a.png'), make_image('in/b.png')
    (tmp_path / 'in' / 'c.png').write_text('no image')
    argv = ['predict', tmp_path / 'in', '--config', files.config, '--weights', files.weights, '--out', out]
    argv = [str(word) for word in [*argv, '--device', 'cpu', '--save', 'pictures', 'instances']]
    assert main([*argv, '--score-thr', '0', '--max-per-image', '3']) == 1
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf'a.png: (\d \w+(, )?)+; \d+\.\d+ s -> {out}/pictures/a.jpg', lines[0])
    assert lines[2] == 'c.png: no result' and lines[3].startswith('2 image(s) done, 1 failed')
    assert main([*argv, '--score-thr', '1', '--overwrite', '--draw', 'instances']) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith('a.png: 0 objects; ')
    assert 'nothing was found in 2 image(s); a lower --score-thr' in printed.err
    assert main([*argv, '--overwrite', '--quiet']) == 1
    assert capsys.readouterr().out.startswith('2 image(s) done')


def test_a_threshold_that_changes_no_picture_is_said(model_files, make_image, tmp_path: Path, capsys) -> None:
    """Panoptic segments have a threshold of their own."""
    files = model_files('panoptic')
    argv = ['predict', make_image('a.png'), '--config', files.config, '--weights', files.weights, '--device', 'cpu']
    argv = [str(word) for word in [*argv, '--out', tmp_path / 'out', '--overwrite']]
    note = '--score-thr applies to instances, and the pictures show panoptic results'
    for options, is_said in (
        (['--score-thr', '0.9'], True),
        (['--score-thr', '0.9', '--draw', 'instances'], False),
        ([], False),
    ):
        assert main([*argv, *options]) == 0
        assert (note in capsys.readouterr().err) == is_said
    assert main([*argv, '--object-mask-thr', '1']) == 0
    assert 'nothing was found in 1 image(s); a lower --object-mask-thr' in capsys.readouterr().err


def test_a_pixel_phone_photograph_works_with_the_defaults(model_files, tmp_path: Path, capsys) -> None:
    """108 megapixels, and a model whose test pipeline does not resize: one note."""
    files = model_files('panoptic')
    Image.new('L', (12000, 9000), 99).save(tmp_path / 'photo.jpg')
    argv = ['predict', tmp_path / 'photo.jpg', '--config', files.config, '--weights', files.weights, '--device', 'cpu']
    argv += ['--out', tmp_path / 'out', '--max-input-megapixels', '0.01', '--save', 'pictures', 'semantic']
    assert main([str(word) for word in argv]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith('note: ')]
    assert len(notes) == 1 and 'photo.jpg (108.0 to 0.0 megapixels)' in notes[0]
    with Image.open(tmp_path / 'out' / 'semantic' / 'photo.png') as image:
        assert image.size == (12000, 9000)


def test_empty_lists_are_sound_json(tmp_path: Path) -> None:
    CocoFile(OutputFolder(tmp_path), 'instances', ['cat']).write([])
    content = json.loads((tmp_path / 'instances.json').read_text())
    assert content == dict(images=[], annotations=[], info={}, categories=[dict(id=1, name='cat')])
    assert [path.name for path in tmp_path.iterdir()] == ['instances.json']
