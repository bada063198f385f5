"""Whatever is wrong with a file, it is loaded whole or rejected by name; nothing is lost silently."""

import json
from pathlib import Path

import pytest

from mmmaskdino.datasets import CheckedCocoDataset, CheckedCocoPanopticDataset
from mmmaskdino.datasets.files import DataError

LOAD_INSTANCES = [
    {'type': 'LoadImageFromFile'},
    {'type': 'mmdet.LoadAnnotations', 'with_bbox': True, 'with_mask': True},
    {'type': 'mmdet.PackDetInputs'},
]
LOAD_PANOPTIC = [
    {'type': 'LoadImageFromFile'},
    {'type': 'mmdet.LoadCocoPanopticAnnotations'},
    {'type': 'mmdet.PackDetInputs'},
]
SOUND = {'good_polygon', 'not_crowd_compressed_rle', 'iscrowd_key_missing'}


def count_objects(dataset: CheckedCocoDataset) -> int:
    samples = [dataset[index]['data_samples'] for index in range(len(dataset))]
    for sample in samples:
        masks = sample.gt_instances.masks.masks
        assert masks.shape[1:] == sample.ori_shape
        assert masks.any(axis=(1, 2)).all()
    return sum(len(sample.gt_instances) + len(sample.ignored_instances) for sample in samples)


@pytest.mark.parametrize('test_mode', [False, True])
def test_every_odd_instance_file(shared_data: Path, logged, test_mode):
    paths = sorted((shared_data / 'odd/cases').glob('*.json'))
    assert len(paths) >= 10
    for path in paths:
        logged.clear()
        content = json.loads(path.read_text())
        annotations = content.get('annotations', [])
        try:
            dataset = CheckedCocoDataset(
                ann_file=str(path),
                data_prefix={'img': str(shared_data / 'odd/images')},
                metainfo={'classes': tuple(category['name'] for category in content['categories'])},
                pipeline=LOAD_INSTANCES,
                test_mode=test_mode,
            )
            num_objects = count_objects(dataset)
        except DataError as error:
            message = str(error)
            assert path.name in message
            assert all(f'annotation {a["id"]} ' in message for a in annotations) or 'image' in message, message
            assert path.stem[3:] not in SOUND or test_mode, message
        else:
            assert num_objects == len(annotations) or path.name in ''.join(logged), f'{path.name}: lost silently'


def test_every_odd_panoptic_image(shared_data: Path, tmp_path: Path):
    root = shared_data / 'odd/panoptic_odd'
    content = json.loads((shared_data / 'odd/panoptic_odd.json').read_text())
    names = {flag: tuple(c['name'] for c in content['categories'] if c['isthing'] == flag) for flag in (0, 1)}
    loaded = set()
    for image in content['images']:
        entries = [entry for entry in content['annotations'] if entry['image_id'] == image['id']]
        path = tmp_path / f'{image["id"]}.json'
        path.write_text(json.dumps({**content, 'images': [image], 'annotations': entries}))
        try:
            sample = CheckedCocoPanopticDataset(
                ann_file=str(path),
                data_prefix={'img': str(root), 'seg': str(root)},
                metainfo={'classes': names[1] + names[0], 'thing_classes': names[1], 'stuff_classes': names[0]},
                pipeline=LOAD_PANOPTIC,
            )[0]['data_samples']
        except DataError as error:
            message = str(error)
            assert path.name in message
            assert Path(image['file_name']).stem in message
        else:
            loaded.add(Path(image['file_name']).stem)
            segments = entries[0]['segments_info']
            assert len(sample.gt_instances) == sum(s['category_id'] in (1, 47) and not s['iscrowd'] for s in segments)
            labels = set(sample.gt_sem_seg.sem_seg.unique().tolist()) - {255}
            assert len(labels) == len({segment['category_id'] for segment in segments})
    assert {'good_with_void', 'crowd_segment', 'stuff_only'} <= loaded
    assert not loaded & {'png_id_missing_in_json', 'unknown_category', 'png_greyscale'}
