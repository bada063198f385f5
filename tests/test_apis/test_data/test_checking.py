"""What is counted and what is found wrong."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mmmaskdino.apis.data import check_split, draw_summaries, find_splits, format_summary
from mmmaskdino.apis.data.layout import Split
from mmmaskdino.datasets import CheckedCocoDataset, DataError
from mmmaskdino.datasets.shapes import METAINFO

THINGS, CLASSES = METAINFO['thing_classes'], METAINFO['classes']


@pytest.fixture
def broken(shapes: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return shutil.copytree(shapes, tmp_path / 'shapes')


def split_of(root: Path, kind: str, name: str = 'train') -> Split:
    return next(split for split in find_splits(root, kind) if split.name == name)


def test_counts_of_instances(shapes: Path) -> None:
    progress = []
    summary = check_split(split_of(shapes, 'instance'), on_progress=lambda *args: progress.append(args))
    coco = COCO(str(shapes / 'annotations' / 'instances_train.json'))
    assert not summary.problems
    assert (summary.classes, summary.num_things, summary.has_masks) == (THINGS, 6, True)
    for label in range(6):
        assert summary.objects[label] == len(coco.getAnnIds(catIds=[label + 1]))
        assert summary.images[label] == len(coco.getImgIds(catIds=[label + 1]))
    assert summary.objects_per_image == [len(coco.getAnnIds(imgIds=[i])) for i in coco.getImgIds()]
    assert sorted(summary.areas) == sorted(annotation['area'] for annotation in coco.dataset['annotations'])
    assert summary.sizes == [(64, 64)] * 6 and progress == [(i, 6) for i in range(1, 7)]


def test_counts_of_panoptic_and_semantic_data_agree(shapes: Path) -> None:
    panoptic = check_split(split_of(shapes, 'panoptic', 'val'))
    semantic = check_split(split_of(shapes, 'semantic', 'val'), CLASSES)
    assert not panoptic.problems and not semantic.problems
    assert panoptic.classes == semantic.classes == CLASSES and panoptic.num_things == 6
    assert panoptic.images == semantic.images
    assert sum(panoptic.areas) == sum(semantic.areas)


def test_classes_of_label_maps_without_names(shapes: Path) -> None:
    summary = check_split(split_of(shapes, 'semantic'))
    assert summary.classes[-1] == f'class {max(summary.objects)}' == 'class 9'


def test_every_problem_is_listed(broken: Path) -> None:
    """More than the 20 that a training run lists, and files that only reading finds."""
    file = broken / 'annotations' / 'instances_train.json'
    content = json.loads(file.read_text())
    for number in range(30):
        content['annotations'].append(dict(content['annotations'][0], id=1000 + number, segmentation=[[1, 2, 3, 4]]))
    content['annotations'].append(dict(content['annotations'][0], id=2000, category_id=77))
    file.write_text(json.dumps(content))
    (broken / 'train' / '000001.jpg').unlink()
    jpg = broken / 'train' / '000002.jpg'
    jpg.write_bytes(jpg.read_bytes()[:500])
    summary = check_split(split_of(broken, 'instance'))
    text = '\n'.join(summary.problems)
    assert summary.num_problems == 33 and len(summary.problems) == 4
    assert f'30 of {len(content["annotations"])} annotations: a polygon needs at least three points' in text
    assert all(f'annotation {1000 + number} (image 1, 000000.jpg): got the lengths [4]' in text for number in range(5))
    assert 'also 1005 to 1029' in text
    assert 'got 77' in text and 'no file at' in text and '000002.jpg: the image is damaged' in text
    quick = check_split(split_of(broken, 'instance'), read_images=False)
    assert quick.num_problems == 32
    assert format_summary(summary).count('\n  problem: ') == 4


@pytest.mark.parametrize('name', ['x' * 300 + '.jpg', '.', 'folder.jpg', 'a\0.jpg', 5])
def test_names_that_no_image_can_have(broken: Path, name) -> None:
    (broken / 'train' / 'folder.jpg').mkdir()
    for kind, list_name in (('instance', 'images'), ('panoptic', 'annotations')):
        file = broken / 'annotations' / f'{kind}{"s" * (kind == "instance")}_train.json'
        content = json.loads(file.read_text())
        content[list_name][0]['file_name'] = name
        file.write_text(json.dumps(content))
        assert len(check_split(split_of(broken, kind)).problems) == 1


@pytest.mark.parametrize('image_id', [[1], {}, None])
def test_a_panoptic_entry_of_no_image(broken: Path, image_id) -> None:
    file = broken / 'annotations' / 'panoptic_train.json'
    content = json.loads(file.read_text())
    content['annotations'][0]['image_id'] = image_id
    file.write_text(json.dumps(content))
    text = '\n'.join(check_split(split_of(broken, 'panoptic')).problems)
    assert 'no image has this id' in text and "needs one entry in 'annotations', got 0" in text


def test_files_in_which_nothing_can_be_checked(broken: Path) -> None:
    file = broken / 'annotations' / 'instances_train.json'
    content = json.loads(file.read_text())
    file.write_text(json.dumps(dict(content, images=[])))
    assert check_split(split_of(broken, 'instance')).problems == ["the dataset is empty: 'images' lists no image"]
    split = split_of(broken, 'instance')
    file.write_text('{')
    (problem,) = check_split(split).problems
    assert 'not a valid json' in problem


def test_boxes_alone(broken: Path) -> None:
    file = broken / 'annotations' / 'instances_train.json'
    content = json.loads(file.read_text())
    for annotation in content['annotations']:
        del annotation['segmentation']
    file.write_text(json.dumps(content))
    summary = check_split(split_of(broken, 'instance'))
    assert not summary.has_masks and not summary.problems
    assert 'no segmentation at all' in format_summary(summary) and '(detection, train)' in format_summary(summary)


def test_boxes_alone_of_objects_with_masks(broken: Path) -> None:
    file = broken / 'annotations' / 'instances_train.json'
    content = json.loads(file.read_text())
    content['annotations'][0]['segmentation'] = []
    file.write_text(json.dumps(content))
    split = split_of(broken, 'instance')
    (problem,) = check_split(split).problems
    assert f'(1 of {len(content["annotations"])} annotations)' in problem and '--boxes-only' in problem
    summary = check_split(split, with_masks=False)
    assert not summary.problems and not summary.has_masks
    assert sum(summary.objects.values()) == len(content['annotations'])


def test_the_check_judges_as_training_does(broken: Path) -> None:
    """The same faults, whatever the part is called."""
    for name in ('train', 'val'):
        file = broken / 'annotations' / f'instances_{name}.json'
        content = json.loads(file.read_text())
        for annotation in content['annotations']:
            annotation.pop('iscrowd')
            annotation['id'] = f'a{annotation["id"]}'
        content['annotations'][0]['segmentation'] = [[[1, 2], [8, 2], [8, 9]]]
        file.write_text(json.dumps(content))
        split = split_of(broken, 'instance', name)
        (problem,) = check_split(split).problems
        with pytest.raises(DataError) as caught:
            CheckedCocoDataset(
                ann_file=str(file),
                data_prefix=dict(img=str(broken / name)),
                metainfo=dict(classes=THINGS),
                pipeline=[dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True)],
                test_mode=name == 'val',
            )
        assert str(caught.value) == f'{file}: 1 problem(s)\n  - {problem}'


def test_panoptic_pngs_are_read(broken: Path) -> None:
    folder = broken / 'annotations' / 'panoptic_train'
    Image.new('RGB', (64, 64), (1, 2, 3)).save(folder / '000000.png')
    Image.new('RGB', (9, 9)).save(folder / '000001.png')
    (folder / '000002.png').unlink()
    text = '\n'.join(check_split(split_of(broken, 'panoptic')).problems)
    assert 'image 1: ' in text and 'only in the PNG [197121]' in text
    assert '000001.png: the panoptic PNG has 9 x 9' in text
    assert '000002.png' in text


@pytest.mark.parametrize(('num', 'message'), [(1, 'the PNG has pixels of segments that have'), (None, 'all .* have')])
def test_panoptic_segments_without_area(broken: Path, num: int | None, message: str) -> None:
    """They are in the json, so that nothing is to be added there but their areas."""
    file = broken / 'annotations' / 'panoptic_train.json'
    content = json.loads(file.read_text())
    for entry in content['annotations']:
        for segment in entry['segments_info'][:num]:
            segment['area'] = 0
    file.write_text(json.dumps(content))
    (problem,) = check_split(split_of(broken, 'panoptic')).problems
    assert re.search(f'{message} area 0 or a box below one pixel', problem) and 'datasets.add_boxes' in problem
    assert 'disagree' not in problem
    quick = check_split(split_of(broken, 'panoptic'), read_images=False)
    assert bool(quick.problems) == (num is None)


def test_label_maps(broken: Path) -> None:
    folder = broken / 'annotations' / 'semantic_train'
    Image.fromarray(np.full((64, 64), 77, np.uint8)).save(folder / '000000.png')
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / '000001.png')
    (folder / '000002.png').unlink()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / 'alone.png')
    (broken / 'train' / 'notes.txt').touch()
    summary = check_split(split_of(broken, 'semantic'), CLASSES)
    text = '\n'.join(summary.problems)
    assert len(summary.problems) == 3
    assert 'labels 77 are no classes' in text and '9 x 9 pixels' in text and '000002.png: the file cannot be' in text
    assert summary.remarks['label maps without image are left out'] == ['alone.png']
    assert summary.remarks['files that do not end with .jpg are left out'] == ['notes.txt']


@pytest.mark.parametrize('kind', ['instance', 'panoptic', 'semantic'])
def test_text_and_picture(shapes: Path, tmp_path: Path, kind: str) -> None:
    summaries = [check_split(split) for split in find_splits(shapes, kind)]
    text = format_summary(summaries[0])
    assert f'({kind}, train): 6 images in {shapes / "train"}' in text
    assert '64 x 64 (6)' in text and text.endswith('no problems')
    if kind != 'semantic':
        assert f'| {CLASSES[0]} ' in text and 'objects per image: least' in text
    draw_summaries(summaries, tmp_path / 'deep' / 'a.png')
    with Image.open(tmp_path / 'deep' / 'a.png') as picture:
        assert picture.width > 1000 and len(picture.convert('L').getcolors()) > 10


@pytest.mark.parametrize('area', [1e32, 1e300, 1e-300])
def test_any_areas_are_drawn(broken: Path, tmp_path: Path, area: float) -> None:
    file = broken / 'annotations' / 'panoptic_train.json'
    content = json.loads(file.read_text())
    for entry in content['annotations']:
        for segment in entry['segments_info']:
            segment['area'] = area
    file.write_text(json.dumps(content))
    draw_summaries([check_split(split_of(broken, 'panoptic'))], tmp_path / 'a.png')
    assert (tmp_path / 'a.png').exists()


def test_boxes_beyond_all_numbers(broken: Path) -> None:
    file = broken / 'annotations' / 'instances_train.json'
    content = json.loads(file.read_text())
    content['annotations'][0]['bbox'] = [0, 0, 10**200, 10**200]
    file.write_text(json.dumps(content))
    (problem,) = check_split(split_of(broken, 'instance')).problems
    assert 'bbox has a value above' in problem


def test_odd_files_of_every_kind(shared_data: Path) -> None:
    """None stops the check, and what training rejects is named."""
    for path in sorted((shared_data / 'odd' / 'cases').glob('*.json')):
        if path.stem.startswith('90'):
            continue
        splits = find_splits(path)
        problems = [problem for split in splits for problem in check_split(split).problems]
        assert bool(problems) == (path.stem[3:] not in SOUND), (path.name, problems)


# Some with remarks: one without any segmentation has boxes to train on.
SOUND = {
    'good_polygon',
    'segmentation_key_missing',
    'not_crowd_compressed_rle',
    'iscrowd_key_missing',
    'one_good_and_one_two_point_polygon',
}
