"""What is found in a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.summary import find_splits


def save(path: Path, mode: str = 'RGB') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 6)).save(path)


def test_every_kind_of_the_shapes(shapes: Path) -> None:
    found = [(s.kind, s.name, s.image_dir, s.ann_file, s.seg_dir) for s in find_splits(shapes)]
    a = 'annotations'
    assert found == [
        ('instance', 'train', 'train', f'{a}/instances_train.json', None),
        ('instance', 'val', 'val', f'{a}/instances_val.json', None),
        ('panoptic', 'train', 'train', f'{a}/panoptic_train.json', f'{a}/panoptic_train'),
        ('panoptic', 'val', 'val', f'{a}/panoptic_val.json', f'{a}/panoptic_val'),
        ('semantic', 'train', 'train', None, f'{a}/semantic_train'),
        ('semantic', 'val', 'val', None, f'{a}/semantic_val'),
    ]
    assert {split.kind for split in find_splits(shapes, 'panoptic')} == {'panoptic'}


def test_one_file(shapes: Path) -> None:
    (split,) = find_splits(shapes / 'annotations' / 'instances_val.json')
    assert (split.kind, split.name) == ('instance', 'val')
    assert (split.root / split.image_dir).resolve() == shapes / 'val'
    assert split.source.is_file()


def test_real_layouts(shared_data: Path) -> None:
    coco = {(s.kind, s.name): s for s in find_splits(shared_data / 'coco_tiny')}
    assert set(coco) == {(kind, name) for kind in ('instance', 'panoptic') for name in ('train', 'val')}
    assert coco['panoptic', 'val'].seg_dir == 'annotations/panoptic_val2017'
    assert coco['instance', 'train'].image_dir == 'train2017'
    ade = find_splits(shared_data / 'ade20k_tiny')
    assert [(s.name, s.image_dir, s.seg_dir) for s in ade] == [
        ('train', 'images/training', 'annotations/training'),
        ('val', 'images/validation', 'annotations/validation'),
    ]


def test_one_name_of_files_in_several_folders(shapes: Path, tmp_path: Path) -> None:
    for folder, part in (('train', 'train'), ('valid', 'val'), ('test', 'val')):
        shutil.copytree(shapes / part, tmp_path / folder)
        shutil.copy(shapes / 'annotations' / f'instances_{part}.json', tmp_path / folder / '_annotations.coco.json')
    found = [(split.name, split.image_dir, split.ann_file) for split in find_splits(tmp_path)]
    assert found == [
        ('train', 'train', 'train/_annotations.coco.json'),
        ('val', 'valid', 'valid/_annotations.coco.json'),
        ('test', 'test', 'test/_annotations.coco.json'),
    ]


@pytest.mark.parametrize('position', [0, -1])
def test_a_file_is_what_most_of_its_annotations_are(shapes: Path, tmp_path: Path, position: int) -> None:
    for kind in ('instance', 'panoptic'):
        name = 'instances_val.json' if kind == 'instance' else 'panoptic_val.json'
        content = json.loads((shapes / 'annotations' / name).read_text())
        tag = {'id': 99, 'image_id': content['images'][0]['id'], 'category_id': 1}
        content['annotations'].insert(position, tag)
        (tmp_path / name).write_text(json.dumps(content))
        (split,) = find_splits(tmp_path / name)
        assert split.kind == kind


def test_label_maps_with_longer_names(tmp_path: Path) -> None:
    for name in 'abc':
        save(tmp_path / 'images' / f'{name}.jpg')
        save(tmp_path / 'masks' / f'{name}_mask.png', 'L')
    (split,) = find_splits(tmp_path)
    assert (split.image_dir, split.seg_dir, split.img_suffix, split.seg_suffix) == (
        'images',
        'masks',
        '.jpg',
        '_mask.png',
    )


def test_other_files_are_no_dataset(tmp_path: Path) -> None:
    (tmp_path / 'a.json').write_text('{"version": 1}')
    (tmp_path / 'b.json').write_text(json.dumps({'images': [], 'categories': [], 'annotations': [{'caption': 'a'}]}))
    save(tmp_path / 'a.jpg')
    with pytest.raises(DataError, match='no dataset found here. Expected a COCO json'):
        find_splits(tmp_path)
    with pytest.raises(DataError, match='no panoptic dataset'):
        find_splits(tmp_path, 'panoptic')
    with pytest.raises(DataError, match='a.json: not a COCO file'):
        find_splits(tmp_path / 'a.json')
    with pytest.raises(DataError, match='nowhere: no such'):
        find_splits(tmp_path / 'nowhere')
    (tmp_path / 'c.json').write_text('{"images": ')
    with pytest.raises(DataError, match='c.json: not a valid json'):
        find_splits(tmp_path)


def test_a_file_that_was_changed_is_read_again(shapes: Path, tmp_path: Path) -> None:
    root = shutil.copytree(shapes, tmp_path / 'copy')
    file = root / 'annotations' / 'instances_train.json'
    assert find_splits(file)[0].kind == 'instance'
    file.write_text(file.with_name('panoptic_train.json').read_text())
    assert find_splits(file)[0].kind == 'panoptic'


def test_photographs_of_one_channel_are_not_their_own_labels(tmp_path: Path) -> None:
    """The folder whose names fit holds the images."""
    for name in 'ab':
        save(tmp_path / 'images' / 'train' / f'{name}.png', 'L')
        Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / f'{name}.png')
    splits = find_splits(tmp_path)
    assert {(s.image_dir, s.seg_dir) for s in splits} <= {('images/train', ''), ('', 'images/train')}
