"""The command on folders that need more than one part to be judged."""

import json
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config

from mmmaskdino.cli.main import main
from mmmaskdino.datasets.shapes import make_shapes_dataset


@pytest.fixture(scope='module')
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes_dataset(tmp_path_factory.mktemp('data') / 'shapes', 4, 2, size=64, progress=False)


@pytest.fixture
def edit(shapes, tmp_path, monkeypatch):
    """Makes a folder of the instance files, each changed."""
    monkeypatch.chdir(tmp_path)

    def run(change) -> str:
        for part in ('train', 'val'):
            shutil.copytree(shapes / part, tmp_path / 'data' / part)
            content = json.loads((shapes / 'annotations' / f'instances_{part}.json').read_text())
            change(content, part)
            path = tmp_path / 'data' / 'annotations' / f'{part}.json'
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(content))
        return 'data'

    return run


def test_a_group_entry_is_no_class(edit, capsys):
    def add_group(content, part):
        for category in content['categories']:
            category['supercategory'] = 'objects'
        content['categories'].insert(0, {'id': 0, 'name': 'objects', 'supercategory': 'none'})

    data = edit(add_group)
    assert main(['data', 'check', data, '--quick']) == 0
    assert (
        'note: no object in any part has one of these classes, which data config leaves out: '
        in capsys.readouterr().out
    )
    assert main(['data', 'config', data, '--out', 'own.py']) == 0
    assert 'leaves out: objects' in capsys.readouterr().out
    assert 'objects' not in Config.fromfile('own.py').classes


def test_parts_of_other_classes(edit, capsys):
    def drop_class(content, part):
        if part == 'val':
            category = content['categories'].pop(0)
            content['annotations'] = [a for a in content['annotations'] if a['category_id'] != category['id']]

    data = edit(drop_class)
    assert main(['data', 'check', data, '--quick']) == 1
    text = capsys.readouterr().out
    assert 'problem: data/annotations/train.json and data/annotations/val.json have different classes: ' in text
    assert '1 problem(s) in 2 part(s)' in text
    with pytest.raises(SystemExit, match='have different classes'):
        main(['data', 'config', data, '--out', 'own.py'])


def test_boxes_only(edit, capsys):
    def drop_mask(content, part):
        content['annotations'][0]['segmentation'] = []

    data = edit(drop_mask)
    assert main(['data', 'check', data, '--quick']) == 1
    with pytest.raises(SystemExit, match='--boxes-only'):
        main(['data', 'config', data, '--out', 'own.py'])
    assert main(['data', 'config', data, '--out', 'own.py', '--boxes-only']) == 0
    cfg = Config.fromfile('own.py')
    assert cfg.val_evaluator.metric == 'bbox' and cfg.val_dataloader.dataset.with_masks is False
    assert 'with_mask' not in cfg.train_dataloader.dataset.pipeline[1]


def test_small_model_and_its_reasons(shapes, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('mmmaskdino.cli.data.has_gpu', lambda: False)
    arguments = ['data', 'config', str(shapes), '--kind', 'instance', '--out']
    assert main([*arguments, str(tmp_path / 'large.py')]) == 0
    assert 'no GPU here' in capsys.readouterr().out
    assert main([*arguments, str(tmp_path / 'small.py'), '--small', '--epochs', '3', '--image-size', '96']) == 0
    text = capsys.readouterr().out
    assert 'no GPU here' not in text and 'chosen: 6 steps of 2 images: each of the 4 images 3 times' in text
    cfg = Config.fromfile(tmp_path / 'small.py')
    assert cfg.train_cfg.max_iters == 6 and cfg.test_dataloader.dataset.pipeline[1].scale == (96, 96)
    with pytest.raises(SystemExit, match='leave out --gpu-memory or --small'):
        main([*arguments, str(tmp_path / 'other.py'), '--small', '--gpu-memory', '16'])
    assert not (tmp_path / 'other.py').exists()


def test_boxes_only_needs_boxes(shapes, tmp_path):
    with pytest.raises(SystemExit, match='--boxes-only needs instance data, got panoptic data'):
        main(['data', 'config', str(shapes), '--kind', 'panoptic', '--boxes-only', '--out', str(tmp_path / 'a.py')])


def test_remarks_are_printed_with_the_config(edit, capsys):
    """What other kinds of data of the folder list is not left out."""

    def drop_all(content, part):
        if part == 'val':
            content['annotations'] = []

    data = edit(drop_all)
    (Path(data) / 'train' / 'spare.jpg').touch()
    assert main(['data', 'config', data, '--out', 'own.py']) == 0
    text = capsys.readouterr().out
    assert 'note: data/annotations/val.json: no annotation at all' in text
    assert 'that no annotation file lists are left out: 1 (spare.jpg)' in text
    content = json.loads((Path(data) / 'annotations' / 'train.json').read_text())
    image = {**content['images'][0], 'file_name': 'spare.jpg'}
    segments = {**content, 'images': [image], 'annotations': [{'image_id': image['id'], 'segments_info': []}]}
    (Path(data) / 'annotations' / 'panoptic_train.json').write_text(json.dumps(segments))
    assert main(['data', 'config', data, '--boxes-only', '--out', 'own.py', '--overwrite']) == 0
    assert 'spare.jpg' not in capsys.readouterr().out


def test_classes_that_cannot_be_meant(shapes, tmp_path):
    check = ['data', 'check', str(shapes), '--quick', '--kind']
    with pytest.raises(SystemExit, match=r'--classes missing\.txt: no such file'):
        main([*check, 'semantic', '--classes', 'missing.txt'])
    with pytest.raises(SystemExit, match='--classes names the classes of label maps; got panoptic data'):
        main([*check, 'panoptic', '--classes', 'a,b'])
    with pytest.raises(SystemExit, match='got panoptic data.*choose --kind semantic'):
        main(['data', 'config', str(shapes), '--classes', 'a,b', '--out', str(tmp_path / 'own.py')])
    assert not (tmp_path / 'own.py').exists()
