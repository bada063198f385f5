"""What is found in a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmmaskdino.apis.data import check_split, find_splits
from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.predicted import IMAGES_IN, is_drawn, save_drawing


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


@pytest.fixture
def coco(tmp_path: Path):
    """Writes a COCO file without objects for some images, and the images into folders."""

    def write(file: str, names: list[str], *folders: str, info: dict | None = None) -> Path:
        for folder in folders:
            for name in names:
                save(tmp_path / folder / name)
        images = [dict(id=number, file_name=name, width=8, height=6) for number, name in enumerate(names, start=1)]
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        content = dict(info=info or {}, images=images, annotations=[], categories=[dict(id=1, name='a')])
        path.write_text(json.dumps(content))
        return path

    return write


OTHERS = {
    'package.json': '{"name": "x"}',
    'a/labelme.json': '{"version": "5.0", "shapes": [], "imagePath": "a.jpg"}',
    'tsconfig.json': '{ // a comment\n}',
    'README.roboflow.json': 'no json',
    'via.json': '{"a.jpg123": {"filename": "a.jpg", "regions": []}}',
    'list.json': '[1, 2]',
    'empty.json': '',
    'latin.json': b'{"a": "\xfc"}',
    '__MACOSX/._train.json': 'junk',
    '.ipynb_checkpoints/train-checkpoint.json': '{"images": ',
}


def test_files_of_other_programs_are_left_out_and_said(coco, tmp_path: Path) -> None:
    coco('train.json', ['a.jpg'], 'images')
    for name, content in OTHERS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (split,) = find_splits(tmp_path)
    assert (split.name, split.image_dir) == ('train', 'images')
    (note,) = split.notes
    assert note.startswith('json files that are no COCO annotations are left out: 6 (')
    assert note in check_split(split).remarks


@pytest.mark.parametrize('content', ['{"images": [{"id": 1', '', '{"annotations": [}'])
def test_a_damaged_annotation_file_is_not_left_out(coco, tmp_path: Path, content: str) -> None:
    coco('val.json', ['a.jpg'], 'images')
    (tmp_path / 'train.json').write_text(content)
    with pytest.raises(DataError, match='train.json: '):
        find_splits(tmp_path)


def test_parts_named_by_their_folder(coco, tmp_path: Path) -> None:
    for folder in ('train', 'valid', 'test'):
        coco(f'{folder}/_annotations.coco.json', [f'{folder}.jpg'], folder)
    assert [(s.name, s.image_dir) for s in find_splits(tmp_path)] == [
        ('train', 'train'),
        ('val', 'valid'),
        ('test', 'test'),
    ]
    assert find_splits(tmp_path / 'valid' / '_annotations.coco.json')[0].name == 'val'


def test_linked_images(coco, tmp_path: Path) -> None:
    coco('data/train.json', ['a.jpg'], 'disk/train')
    (tmp_path / 'data' / 'images').symlink_to(tmp_path / 'disk')
    (tmp_path / 'disk' / 'loop').symlink_to(tmp_path / 'data')
    for path in (tmp_path / 'data', tmp_path / 'data' / 'train.json'):
        (split,) = find_splits(path)
        assert split.image_dir == 'images/train' and not check_split(split).problems


def test_a_folder_of_files_of_nearly_the_names(coco, tmp_path: Path) -> None:
    coco('train.json', ['gr\u00fcn.jpg'])
    save(tmp_path / 'images' / 'gru\u0308n.jpg')
    save(tmp_path / 'other' / 'b.jpg')
    (split,) = find_splits(tmp_path)
    assert split.image_dir == 'images'
    (problem,) = check_split(split).problems
    assert 'Unicode form alone' in problem


def test_a_single_file_whose_images_have_nearly_the_names(coco, tmp_path: Path) -> None:
    path = coco('annotations/train.json', ['gr\u00fcn.jpg'])
    save(tmp_path / 'images' / 'gru\u0308n.jpg')
    (split,) = find_splits(path)
    assert (split.root / split.image_dir).resolve() == tmp_path / 'images'


def test_a_single_file_in_the_working_folder(coco, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coco('annotations/train.json', ['a.jpg'], 'images')
    monkeypatch.chdir(tmp_path / 'annotations')
    (split,) = find_splits(Path('train.json'))
    assert (split.root / split.image_dir).resolve() == tmp_path / 'images' and split.source.is_file()


def draw(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_drawing(Image.new('RGB', (8, 6)), path)
        assert is_drawn(path)


def test_drawn_pictures_are_not_the_images(coco, tmp_path: Path) -> None:
    """Wherever they lie, and whatever their folder is called."""
    coco('results/instances.json', ['a.jpg', 'b.jpg'], 'deep/er/photos')
    draw(tmp_path / 'results' / 'pictures' / 'a.jpg', tmp_path / 'results' / 'pictures' / 'b.jpg')
    draw(tmp_path / 'a.jpg', tmp_path / 'b.jpg')
    (split,) = find_splits(tmp_path)
    assert (split.image_dir, split.notes) == ('deep/er/photos', ())


def test_drawn_pictures_alone_are_said(coco, tmp_path: Path) -> None:
    path = coco('results/instances.json', ['a.jpg'])
    draw(tmp_path / 'results' / 'pictures' / 'a.jpg')
    (split,) = find_splits(path)
    assert 'have results drawn on them' in split.notes[0]


def test_a_file_that_says_where_its_images_are(coco, tmp_path: Path) -> None:
    path = coco('results/instances.json', ['a.jpg'], 'results/copies', info={IMAGES_IN: '../photos'})
    assert find_splits(path)[0].image_dir == 'copies', 'moved since'
    save(tmp_path / 'photos' / 'a.jpg')
    (split,) = find_splits(path)
    assert (split.root / split.image_dir).resolve() == tmp_path / 'photos' and not split.notes


def test_a_choice_of_folders_is_said(coco, tmp_path: Path) -> None:
    path = coco('train.json', ['a.jpg'], 'images', 'overlays')
    for found in (find_splits(path), find_splits(tmp_path)):
        assert found[0].image_dir == 'images'
        assert 'taken from' in found[0].notes[0] and 'overlays' in found[0].notes[0]


def test_of_several_datasets_each_has_its_own_images(coco, tmp_path: Path) -> None:
    """Also where the folder of the other one is named as the part."""
    coco('cats/annotations/train.json', ['a.jpg'], 'cats/train')
    coco('pets/annotations/instances.json', ['a.jpg'], 'pets/photos/all')
    coco('dogs/annotations/train.json', ['a.jpg'], 'dogs/photos')
    for split in find_splits(tmp_path):
        assert split.image_dir.partition('/')[0] == split.ann_file.partition('/')[0]


@pytest.fixture
def panoptic(shapes: Path, tmp_path: Path) -> Path:
    """A panoptic file with its PNGs, without images."""
    root = tmp_path / 'annotations'
    shutil.copytree(shapes / 'annotations' / 'panoptic_val', root / 'panoptic_val')
    return Path(shutil.copy(shapes / 'annotations' / 'panoptic_val.json', root))


def test_images_beside_their_pngs(shapes: Path, panoptic: Path, tmp_path: Path) -> None:
    shutil.copytree(shapes / 'val', tmp_path / 'annotations' / 'panoptic_val', dirs_exist_ok=True)
    for path in (tmp_path, panoptic):
        (split,) = find_splits(path)
        assert not check_split(split).problems and not split.notes


def test_pngs_are_not_taken_for_missing_images(panoptic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where the folder that was searched has another form of the path."""
    monkeypatch.chdir(panoptic.parent)
    for path in (panoptic.parent, Path(panoptic.name)):
        (split,) = find_splits(path)
        assert (split.root / split.image_dir).resolve() != panoptic.with_suffix('')
        assert 'the file is not there' in check_split(split).problems[0]


OBJECT = dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 4, 4], area=16)


@pytest.mark.parametrize(
    ('changes', 'fault'),
    [
        (dict(categories=...), "no key 'categories': expected the COCO format, got the keys"),
        (dict(images=...), "no key 'images': expected the COCO format, got the keys"),
        (dict(annotations=None), "'annotations' must be a list of objects, got null"),
        (dict(annotations={'1': OBJECT}), "'annotations' must be a list of objects, got {"),
    ],
)
def test_a_file_with_two_of_the_lists_is_told_what_it_lacks(coco, tmp_path: Path, changes: dict, fault: str) -> None:
    """Also beside a sound one: without it another part would be evaluated."""
    coco('val.json', ['a.jpg'], 'images')
    path = coco('other.json', ['a.jpg'])
    content = {**json.loads(path.read_text()), 'annotations': [OBJECT], **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))
    for place in (path, tmp_path):
        with pytest.raises(DataError) as error:
            find_splits(place)
        assert str(error.value).startswith(f'{path}: {fault}')


def test_lists_of_other_files_are_left_out(coco, tmp_path: Path) -> None:
    """Images of a test set, captions, and a file for each image."""
    coco('train.json', ['a.jpg'], 'images')
    image, entry = dict(id=1, file_name='a.jpg', width=8, height=6), dict(id=1, image_id=1, caption='a')
    for name, content, lacks in (
        ('info', dict(images=[image], categories=[]), "no key 'annotations'"),
        ('captions', dict(images=[image], annotations=[entry]), "no key 'categories'"),
        ('a', dict(image=image, annotations=[OBJECT]), "no key 'images'"),
        (
            'classes',
            dict(images=[image], annotations=[entry], categories=[]),
            "no annotation has one of the keys ['bbox'",
        ),
        ('list', [OBJECT], 'got a list'),
    ):
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
        with pytest.raises(DataError, match='not a COCO file') as error:
            find_splits(tmp_path / f'{name}.json')
        assert lacks in str(error.value)
    assert [split.name for split in find_splits(tmp_path)] == ['train']
