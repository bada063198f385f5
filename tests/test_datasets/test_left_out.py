"""What is left out on request, and what never is."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmmaskdino.datasets import CheckedCocoDataset, CheckedCocoPanopticDataset, DataError, ids_to_rgb
from mmmaskdino.datasets.left_out import LeftOutList

NUM_IMAGES = 8
SIZE = (20, 30)
CATEGORIES = [{'id': 5, 'name': 'cup', 'isthing': 1}, {'id': 90, 'name': 'wall', 'isthing': 0}]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Images 0 to 7; a ground truth of instances and one of segments, with one object in each."""
    images, objects, entries = [], [], []
    ids = np.full(SIZE, 3, np.int32)
    ids[2:9, 2:9] = 7
    for number in range(NUM_IMAGES):
        Image.new('RGB', SIZE[::-1], (9 * number, 0, 0)).save(tmp_path / f'{number}.png')
        Image.fromarray(ids_to_rgb(ids)).save(tmp_path / f'{number}_ids.png')
        images.append({'id': number, 'file_name': f'{number}.png', 'height': SIZE[0], 'width': SIZE[1]})
        box = {'bbox': [2, 2, 7, 7], 'area': 49, 'iscrowd': 0}
        polygon = [[2, 2, 9, 2, 9, 9, 2, 9]]
        objects.append({'id': number + 1, 'image_id': number, 'category_id': 5, 'segmentation': polygon, **box})
        segments = [{'id': 7, 'category_id': 5, **box}, {'id': 3, 'category_id': 90, **box}]
        entries.append({'image_id': number, 'file_name': f'{number}_ids.png', 'segments_info': segments})
    for name, annotations in (('instances', objects), ('panoptic', entries)):
        content = {'images': images, 'annotations': annotations, 'categories': CATEGORIES}
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    return tmp_path


def change(path: Path, spoil) -> None:
    content = json.loads(path.read_text())
    spoil(content['images'], content['annotations'])
    path.write_text(json.dumps(content))


def build_instances(root: Path, **changes) -> CheckedCocoDataset:
    settings = dict(
        ann_file=str(root / 'instances.json'),
        data_prefix=dict(img=str(root)),
        metainfo=dict(classes=('cup', 'wall')),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='mmdet.PackDetInputs'),
        ],
        on_fault='leave_out',
        left_out_file=str(root / 'lists' / 'left_out.jsonl'),
    )
    return CheckedCocoDataset(**settings | changes)


def build_panoptic(root: Path, **changes) -> CheckedCocoPanopticDataset:
    settings = dict(
        ann_file=str(root / 'panoptic.json'),
        data_prefix=dict(img=str(root), seg=str(root)),
        metainfo=dict(classes=('cup', 'wall'), thing_classes=('cup',), stuff_classes=('wall',)),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='mmdet.LoadCocoPanopticAnnotations'),
            dict(type='mmdet.PackDetInputs'),
        ],
        on_fault='leave_out',
        left_out_file=str(root / 'left_out.jsonl'),
    )
    return CheckedCocoPanopticDataset(**settings | changes)


def read_list(path: Path) -> dict[str, list[str]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({line['image'] for line in lines}) == len(lines)
    return {line['image']: line['problems'] for line in lines}


def image_numbers(dataset) -> set[int]:
    return {dataset[index]['data_samples'].img_id for index in range(len(dataset))}


def spoil_instances(images: list[dict], objects: list[dict]) -> None:
    objects[0]['segmentation'] = [[2, 2, 9, 9]]
    objects[1]['category_id'] = 4
    objects[2]['id'] = objects[3]['id']
    images[4]['height'] = 1
    objects[5]['image_id'] = 99


def test_images_with_faulty_annotations(root: Path) -> None:
    change(root / 'instances.json', spoil_instances)
    (root / '6.png').unlink()
    with pytest.raises(DataError, match='6 problem'):
        build_instances(root, on_fault='error', left_out_file=None)
    dataset = build_instances(root)
    assert image_numbers(dataset) == {5, 7}
    problems = read_list(root / 'lists' / 'left_out.jsonl')
    assert set(problems) == {'0', '1', '2', '3', '4', '6', '99'}
    assert 'at least three points' in problems['0'][0] and 'instances.json' not in problems
    assert 'no file at' in problems['6'][0]


def spoil_panoptic(images: list[dict], entries: list[dict]) -> None:
    entries[0]['segments_info'][0]['category_id'] = 4
    entries[1]['image_id'] = 0
    del entries[2]['segments_info']
    images[3]['width'] = -1


def test_images_with_faulty_segments(root: Path) -> None:
    change(root / 'panoptic.json', spoil_panoptic)
    (root / '4_ids.png').unlink()
    dataset = build_panoptic(root)
    assert image_numbers(dataset) == {5, 6, 7}
    assert set(read_list(root / 'left_out.jsonl')) == {'0', '1', '2', '3', '4'}


def test_files_that_cannot_be_read(root: Path) -> None:
    """Found when they are met; another image takes their place, and the list has each once."""
    (root / '1.png').write_bytes((root / '1.png').read_bytes()[:-9])
    (root / '2_ids.png').write_bytes((root / '0.png').read_bytes())
    for _ in range(2):  # a run, and one that goes on with its list
        dataset = build_panoptic(root)
        for _ in range(2):
            assert len(dataset) == NUM_IMAGES
            assert image_numbers(dataset) <= {0, 3, 4, 5, 6, 7}
        problems = read_list(root / 'left_out.jsonl')
        assert set(problems) == {str(root / '1.png'), str(root / '2.png')}
    assert 'not an image that can be read' in problems[str(root / '1.png')][0]


def test_errors_of_the_program_are_never_left_out(root: Path) -> None:
    dataset = build_instances(root, pipeline=[dict(type='LoadImageFromFile'), lambda results: results['missing']])
    with pytest.raises(DataError, match="image 0 .*KeyError: 'missing'"):
        dataset[0]


def test_faults_of_the_whole_file_and_empty_datasets_are_errors(root: Path) -> None:
    with pytest.raises(DataError, match='which are not among the categories'):
        build_instances(root, metainfo=dict(classes=('cup', 'dog')))
    for number in range(NUM_IMAGES):
        (root / f'{number}.png').unlink()
    with pytest.raises(DataError, match='every image is left out; the reasons are in'):
        build_instances(root)


def test_evaluation_leaves_nothing_out(root: Path) -> None:
    with pytest.raises(ValueError, match='is for training'):
        build_instances(root, test_mode=True)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(on_fault='ignore'), 'on_fault must be one of'),
        (dict(left_out_file=None), 'needs left_out_file'),
        (dict(on_fault='error'), "left_out_file needs on_fault='leave_out'"),
    ],
)
def test_settings(root: Path, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_instances(root, **settings)


def test_two_datasets_share_a_list(tmp_path: Path) -> None:
    path = tmp_path / 'list.jsonl'
    for dataset in ('a.json', 'b.json', 'a.json'):
        LeftOutList(str(path), dataset).add('ä.jpg', ['broken', 'and small'])
    lines = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
    assert [line['dataset'] for line in lines] == ['a.json', 'b.json']
    assert lines[0]['image'] == 'ä.jpg' and lines[0]['problems'] == ['broken', 'and small']
