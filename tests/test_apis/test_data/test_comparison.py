"""What only all parts together show."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from mmmaskdino.apis.data import (
    SplitSummary,
    check_split,
    compare_parts,
    divide_annotations,
    find_differences,
    find_splits,
    find_unused_classes,
)
from mmmaskdino.apis.data.layout import Split
from mmmaskdino.cli.main import main


@pytest.fixture
def root(shapes: Path, tmp_path: Path) -> Path:
    """A copy without panoptic data and label maps."""
    copy = shutil.copytree(shapes, tmp_path / 'shapes')
    for path in (copy / 'annotations').iterdir():
        if not path.name.startswith('instances'):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return copy


def compared(root: Path) -> list:
    parts = [check_split(split, read_images=False) for split in find_splits(root)]
    compare_parts(parts, whole_folder=True)
    return parts


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_sound_parts_have_nothing_to_say(root: Path) -> None:
    assert [part.remarks for part in compared(root)] == [{}, {}]


def test_images_of_two_parts(root: Path) -> None:
    """Also by another name of the same file."""
    (root / 'images').mkdir()
    for path in [*(root / 'train').iterdir(), *(root / 'val').iterdir()]:
        shutil.move(path, root / 'images' / f'{path.parent.name}_{path.name}')
    for name in ('train', 'val'):
        file = root / 'annotations' / f'instances_{name}.json'
        edit(file, lambda c, name=name: [i.update(file_name=f'{name}_{i["file_name"]}') for i in c['images']])
    edit(
        root / 'annotations' / 'instances_val.json',
        lambda c: c['images'][0].update(file_name='./train_' + c['images'][0]['file_name'].removeprefix('val_')),
    )
    train, val = compared(root)
    shared = [
        part.remarks[f'images that are in {other.split.source} as well'] for part, other in ((train, val), (val, train))
    ]
    assert shared == [['train_000000.jpg']] * 2


def test_images_that_no_file_lists(root: Path) -> None:
    for name in ('spare.jpg', 'SPARE.PNG', '._spare.jpg', 'Thumbs.db', 'notes.txt'):
        (root / 'train' / name).touch()
    edit(root / 'annotations' / 'instances_train.json', lambda c: c['images'][0].update(height=0))
    train, val = compared(root)
    (kind,) = train.remarks
    assert 'that no annotation file lists' in kind and train.remarks[kind] == ['SPARE.PNG', 'spare.jpg']
    assert not val.remarks


def double(content: dict) -> None:
    """Each image again, with another id and its objects."""
    for image in list(content['images']):
        content['images'].append({**image, 'id': image['id'] + 1000})
        for entry in [e for e in content['annotations'] if e['image_id'] == image['id']]:
            content['annotations'].append({**entry, 'id': entry['id'] + 10000, 'image_id': image['id'] + 1000})


def test_files_listed_twice_are_said_and_stay_on_one_side(root: Path, tmp_path: Path) -> None:
    edit(root / 'annotations' / 'instances_train.json', double)
    train, _ = compared(root)
    assert len(train.remarks['files that are listed more than once, each time as an image of its own']) == 6
    for seed in range(5):
        sides = divide_annotations(train, 0.5, seed, tmp_path / str(seed))
        names = [{image['file_name'] for image in json.loads(side.path.read_text())['images']} for side in sides]
        assert [side.num_images for side in sides] == [6, 6] and not names[0] & names[1]


def test_the_command_tells(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (root / 'train' / 'spare.jpg').touch()
    assert main(['data', 'check', str(root), '--quick', '--picture', str(tmp_path / 'a.png')]) == 0
    assert 'that no annotation file lists are left out: 1 (spare.jpg)' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['\x1b[31mred', '\ud800', 'two\nlines'])
def test_a_name_for_the_terminal(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture, name: str) -> None:
    file = root / 'annotations' / 'instances_train.json'
    edit(file, lambda c: c['categories'][0].update(name=name))
    assert main(['data', 'check', str(file), '--quick', '--picture', str(tmp_path / 'a.png')]) == 1
    printed = capsys.readouterr().out
    assert '\x1b' not in printed and 'cannot be used, first' in printed
    printed.encode()


def make(name: str, classes: tuple[str, ...], objects: dict[int, int], kind: str = 'instance') -> SplitSummary:
    split = Split(kind, name, Path('data'), name, ann_file=f'{name}.json')
    return SplitSummary(split, classes=classes, objects=Counter(objects))


def test_parts_that_fit() -> None:
    train = make('train', ('cup', 'cat'), {0: 3, 1: 1})
    assert find_differences([train]) == []
    assert find_differences([train, make('val', ('cat', 'cup'), {0: 1})]) == [], 'the order does not matter'
    assert find_differences([train, make('val', (), {})]) == [], 'a file in which nothing could be read'
    assert find_differences([make('a', ('x',), {0: 1}, 'semantic'), make('b', ('y',), {0: 1}, 'semantic')]) == []


def test_other_classes() -> None:
    parts = [make('train', ('cup', 'cat'), {0: 1}), make('val', ('cup', 'dog'), {0: 1})]
    (problem,) = find_differences(parts)
    assert problem.startswith('data/train.json and data/val.json have different classes: ')
    assert 'data/train.json lacks ["dog"], data/val.json lacks ["cat"]; give both the same' in problem


def test_masks_in_one_part_alone() -> None:
    train = make('train', ('cup',), {0: 1})
    val = dataclasses.replace(make('val', ('cup',), {0: 1}), has_masks=False)
    (problem,) = find_differences([val, train])
    assert problem.startswith('data/train.json has masks, data/val.json has boxes alone') and '--boxes-only' in problem
    assert find_differences([train, dataclasses.replace(val, objects=Counter())]) == [], 'nothing there has masks'


def test_classes_that_no_part_has() -> None:
    train = make('train', ('objects', 'cup', 'cat', 'dog'), {1: 3})
    val = make('val', ('dog', 'cat', 'cup', 'objects'), {0: 1})
    assert find_unused_classes([train, val]) == ['objects', 'cat']
    assert find_unused_classes([make('train', ('cup',), {})]) == [], 'without any object nothing can be told'


def test_things_of_one_part_that_are_stuff_in_another() -> None:
    train = dataclasses.replace(make('train', ('cup', 'wall'), {0: 1}, 'panoptic'), num_things=1)
    val = dataclasses.replace(make('val', ('wall', 'cup'), {0: 1}, 'panoptic'), num_things=2)
    assert find_differences([train, dataclasses.replace(val, classes=('cup', 'wall'), num_things=1)]) == []
    (problem,) = find_differences([train, val])
    assert problem.startswith('data/train.json and data/val.json differ in \'isthing\' of the categories ["wall"]')
