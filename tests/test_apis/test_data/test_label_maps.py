"""Which folders are label maps of which images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmmaskdino.apis.data import Split, check_split, compare_parts, find_splits
from mmmaskdino.apis.data.label_maps import split_name
from mmmaskdino.cli.main import main
from mmmaskdino.datasets.files import DataError


def save_photo(path: Path, mode: str = 'RGB') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(path)


def save_labels(path: Path, mode: str = 'L', values: tuple[int, ...] = (0, 1, 2, 1)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = Image.fromarray(np.resize(np.array(values, np.uint8), (16, 16)))
    labels.convert(mode).save(path)


def found(root: Path, kind: str | None = None) -> list[tuple]:
    return [(s.name, s.image_dir, s.seg_dir, s.img_suffix, s.seg_suffix) for s in find_splits(root, kind)]


def problems(root: Path, classes: list[str] | None = None) -> list[str]:
    parts = [check_split(split, classes) for split in find_splits(root)]
    compare_parts(parts, whole_folder=True)
    return [problem for part in parts for problem in part.problems]


def test_subfolders_are_one_part(tmp_path: Path) -> None:
    for part, place in (('train', 'north'), ('train', 'south'), ('val', 'east'), ('val', 'north')):
        save_photo(tmp_path / 'images' / part / place / f'{place}1.jpg')
        save_labels(tmp_path / 'masks' / part / place / f'{place}1.png')
    assert found(tmp_path) == [
        ('train', 'images/train', 'masks/train', '.jpg', '.png'),
        ('val', 'images/val', 'masks/val', '.jpg', '.png'),
    ]
    assert [check_split(split).num_images for split in find_splits(tmp_path)] == [2, 2]


def test_subfolders_without_parts(tmp_path: Path) -> None:
    for place in ('north', 'south'):
        save_photo(tmp_path / 'images' / place / 'a.jpg')
        save_labels(tmp_path / 'masks' / place / 'a.png')
    assert found(tmp_path) == [('images', 'images', 'masks', '.jpg', '.png')]


def test_a_subfolder_without_label_maps_is_missed(tmp_path: Path) -> None:
    for place in ('north', 'south', 'west'):
        save_photo(tmp_path / 'images' / place / 'a.jpg')
        if place != 'west':
            save_labels(tmp_path / 'masks' / place / 'a.png')
    (problem,) = problems(tmp_path)
    assert 'masks/west/a.png: the file cannot be read' in problem


def test_of_several_kinds_the_indices_for_training_are_taken(tmp_path: Path) -> None:
    for number in range(1, 12):
        name = f'city_{number}'
        save_photo(tmp_path / 'leftImg8bit' / 'train' / 'city' / f'{name}_leftImg8bit.png')
        labels = tmp_path / 'gtFine' / 'train' / 'city' / f'{name}_gtFine_'
        save_labels(Path(f'{labels}color.png'), 'RGBA')
        save_labels(Path(f'{labels}labelIds.png'))
        save_labels(Path(f'{labels}labelTrainIds.png'))
        Image.fromarray(np.full((16, 16), 26001, np.uint16)).save(f'{labels}instanceIds.png')
    (split,) = find_splits(tmp_path)
    assert (split.name, split.image_dir, split.seg_dir) == ('train', 'leftImg8bit/train', 'gtFine/train')
    assert split.seg_suffix.endswith('gtFine_labelTrainIds.png') and split.img_suffix.endswith('leftImg8bit.png')
    summary = check_split(split)
    assert not summary.problems and summary.num_images == 11
    (remark,) = [kind for kind in summary.remarks if 'are left out' in kind]
    assert len(summary.remarks[remark]) == 33


@pytest.mark.parametrize('seg_name', ['{}_mask.png', '{}.png'])
def test_images_and_label_maps_in_one_folder(tmp_path: Path, seg_name: str) -> None:
    for name in ('a', 'b', 'c'):
        save_photo(tmp_path / 'train' / f'{name}.jpg')
        save_labels(tmp_path / 'train' / seg_name.format(name))
    assert found(tmp_path) == [('train', 'train', 'train', '.jpg', seg_name.format(''))]
    summary = check_split(*find_splits(tmp_path))
    assert (summary.num_images, summary.problems, summary.remarks) == (3, [], {})


def test_grey_photographs_are_not_the_labels(tmp_path: Path) -> None:
    for name in 'ab':
        save_photo(tmp_path / 'scans' / f'{name}.png', 'L')
        save_labels(tmp_path / 'lungs' / f'{name}.png', values=(0, 1))
    assert found(tmp_path) == [('scans', 'scans', 'lungs', '.png', '.png')]


def test_of_several_folders_the_named_one_is_taken_and_the_other_said(tmp_path: Path) -> None:
    for name in 'ab':
        save_photo(tmp_path / 'images' / f'{name}.jpg')
        save_photo(tmp_path / 'depth' / f'{name}.png', 'L')
        save_labels(tmp_path / 'labels' / f'{name}.png')
    (split,) = find_splits(tmp_path)
    assert split.seg_dir == 'labels' and 'depth' in split.notes[0]
    assert any('depth' in remark for remark in check_split(split).remarks)


@pytest.mark.parametrize(
    ('suffix', 'mode', 'reason'),
    [
        ('.png', 'RGB', 'mode RGB'),
        ('.png', 'RGBA', 'mode RGBA'),
        ('.png', 'LA', 'mode LA'),
        ('.jpg', 'RGB', 'mode RGB'),
    ],
)
def test_what_cannot_be_a_label_map_is_named(tmp_path: Path, suffix: str, mode: str, reason: str) -> None:
    for part, number in (('train', 4), ('val', 1)):
        for index in range(number):
            save_photo(tmp_path / 'images' / part / f'{index}.jpg')
            save_labels(tmp_path / 'masks' / part / f'{index}{suffix}', mode)
    many, single = problems(tmp_path)
    assert many.startswith(f'4 of 4 images: {tmp_path}/masks/train/0{suffix}: a label map has one channel')
    assert reason in many and f'/1{suffix}: a label map' in many and many.endswith('; also "2.jpg", "3.jpg"')
    assert reason in single and single.startswith(f'{tmp_path}/masks/val/0{suffix}: ')


def test_one_part_of_another_kind(tmp_path: Path) -> None:
    for part, mode in (('train', 'L'), ('val', 'RGB')):
        save_photo(tmp_path / 'images' / part / 'a.jpg')
        save_labels(tmp_path / 'masks' / part / 'a.png', mode)
    (problem,) = problems(tmp_path)
    assert 'masks/val/a.png' in problem and 'mode RGB' in problem


def test_pictures_beside_coco_files_are_no_label_maps(shapes: Path) -> None:
    """Panoptic PNGs have the names of the images, too."""
    assert not [split for split in find_splits(shapes) if split.seg_dir == 'annotations/panoptic_train'][1:]


def test_masks_of_0_and_255(tmp_path: Path) -> None:
    for part in ('train', 'val'):
        save_photo(tmp_path / 'images' / part / 'a.jpg')
        save_labels(tmp_path / 'masks' / part / 'a.png', values=(0, 255))
    for classes in (None, ['ground', 'shape']):
        found_problems = problems(tmp_path, classes)
        assert len(found_problems) == 2
        assert all('look like masks whose objects are 255. Write 1' in problem for problem in found_problems)


def test_grey_levels(tmp_path: Path) -> None:
    for part, values in (('train', (0, 127)), ('val', (0, 254))):
        save_photo(tmp_path / 'images' / part / 'a.jpg')
        save_labels(tmp_path / 'masks' / part / 'a.png', values=values)
    first, second = problems(tmp_path)
    assert first == second and first.startswith('3 of 255 labels occur: 0, 127, 254. They look like grey levels')


def test_a_class_without_pixels_is_told(tmp_path: Path) -> None:
    for part, values in (('train', (0, 1)), ('val', (0, 255))):
        save_photo(tmp_path / 'images' / part / 'a.jpg')
        save_labels(tmp_path / 'masks' / part / 'a.png', values=values)
    parts = [check_split(split, ['a', 'b', 'c', 'd']) for split in find_splits(tmp_path)]
    compare_parts(parts, whole_folder=True)
    for part in parts:
        assert part.remarks['classes of which no part has a pixel'] == ['c', 'd'] and not part.problems


def test_a_part_without_labels_is_told(tmp_path: Path) -> None:
    for part, values in (('train', (0, 1)), ('val', (255,))):
        save_photo(tmp_path / 'images' / part / 'a.jpg')
        save_labels(tmp_path / 'masks' / part / 'a.png', values=values)
    train, val = [check_split(split) for split in find_splits(tmp_path)]
    compare_parts([train, val], whole_folder=True)
    assert not train.remarks and not train.problems and not val.problems
    (remark,) = val.remarks
    assert 'nothing can be learned or measured' in remark


LOST = 'of 3 images those are left out whose names do not end with'


@pytest.mark.parametrize(('labels', 'end'), [('masks', ''), ('images', ''), ('masks', '_photo')])
def test_images_with_another_suffix_are_told(tmp_path: Path, labels: str, end: str, capsys) -> None:
    for name, suffix in (('a', 'jpg'), ('b', 'JPG'), ('c', 'jpeg')):
        save_photo(tmp_path / 'images' / 'train' / f'{name}{end}.{suffix}')
        save_labels(tmp_path / labels / 'train' / f'{name}_mask.png')
    save_photo(tmp_path / 'images' / 'train' / 'z.bmp')
    parts = [check_split(split) for split in find_splits(tmp_path)]
    compare_parts(parts, whole_folder=True)
    remarks = {kind[: len(LOST)]: places for kind, places in parts[0].remarks.items()}
    lost = remarks.pop(LOST)
    assert lost == [f'b{end}.JPG', f'c{end}.jpeg'] and list(remarks.values()) == [['z.bmp']]
    assert main(['data', 'config', str(tmp_path), '--out', str(tmp_path / 'own.py')]) == 0
    printed = capsys.readouterr().out
    assert f'{LOST} {end.removeprefix("_")}.jpg' in printed and f': 2 ({", ".join(lost)})' in printed


def test_too_many_names(tmp_path: Path) -> None:
    save_photo(tmp_path / 'images' / 'a.jpg')
    save_labels(tmp_path / 'masks' / 'a.png')
    (problem,) = problems(tmp_path, [f'class {number}' for number in range(256)])
    assert 'at most 255 classes, got 256' in problem


@pytest.mark.parametrize(
    ('path', 'name'),
    [
        ('images/train/north', 'train'),
        ('train/images', 'train'),
        ('valid/_annotations.coco', 'val'),
        ('annotations/instances_val2017', 'val'),
        ('imagesTrain', 'train'),
        ('mytrain', 'train'),
        ('val_of_train', 'train'),
        ('training', 'train'),
        ('validation', 'val'),
        ('test-dev', 'test'),
        ('latest', None),
        ('intervals', None),
        ('valley', None),
        ('contest/a', None),
    ],
)
def test_names_of_parts(path: str, name: str | None) -> None:
    assert split_name(path) == name


def test_leftovers_and_links(tmp_path: Path) -> None:
    for name in 'ab':
        save_photo(tmp_path / 'elsewhere' / f'{name}.jpg')
        save_labels(tmp_path / 'data' / 'masks' / f'{name}.png')
        for leftover in (f'elsewhere/._{name}.jpg', f'data/masks/._{name}.png', f'__MACOSX/{name}.jpg'):
            (tmp_path / leftover).parent.mkdir(exist_ok=True)
            (tmp_path / leftover).write_bytes(b'junk')
    (tmp_path / 'data' / 'images').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'elsewhere' / 'up').symlink_to(tmp_path / 'data')
    (split,) = find_splits(tmp_path / 'data')
    assert isinstance(split, Split) and (split.image_dir, split.seg_dir) == ('images', 'masks')
    assert not check_split(split).problems


def test_nothing_that_fits(tmp_path: Path) -> None:
    save_photo(tmp_path / 'images' / 'a.jpg')
    save_labels(tmp_path / 'masks' / 'b.png')
    with pytest.raises(DataError, match='no dataset found'):
        find_splits(tmp_path)
