import copy
import json

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from pycocotools import mask as coco_mask

from mmmaskdino.datasets import DataError
from mmmaskdino.evaluation import CheckedCocoMetric

SIZE = (40, 60)
CLASSES = ('cup', 'cat', 'dog')
BOXES = {1: [[4, 4, 20, 10], [30, 5, 12, 18]], 2: [[2, 20, 30, 15], [40, 3, 15, 15], [3, 2, 9, 9]]}
LABELS = {1: [0, 1], 2: [1, 2, 0]}


def make_content() -> dict:
    categories = [dict(id=cat_id, name=name) for cat_id, name in ((1, 'cup'), (5, 'cat'), (9, 'dog'))]
    annotations = []
    for image_id, boxes in BOXES.items():
        for (x, y, w, h), label in zip(boxes, LABELS[image_id], strict=True):
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            fields = dict(category_id=categories[label]['id'], bbox=[x, y, w, h], area=w * h, iscrowd=0)
            annotations.append(dict(id=len(annotations) + 1, image_id=image_id, segmentation=[polygon], **fields))
    images = [dict(id=image_id, file_name=f'{image_id}.jpg', height=SIZE[0], width=SIZE[1]) for image_id in BOXES]
    return dict(images=images, annotations=annotations, categories=categories)


@pytest.fixture
def evaluate(tmp_path):
    """Evaluates predictions of which the last of each image has the wrong class; of the others one box is loose."""

    def run(
        content: dict,
        classes=CLASSES,
        ids=lambda image_id: image_id,
        metric=CheckedCocoMetric,
        encoding='utf-8',
        **kwargs,
    ) -> dict:
        path = tmp_path / 'val.json'
        path.write_bytes(json.dumps(content).encode(encoding))
        built = metric(ann_file=str(path), **{'metric': ['bbox', 'segm'], **kwargs})
        built.dataset_meta = dict(classes=classes)
        for image_id, boxes in BOXES.items():
            labels = [CLASSES[label] for label in LABELS[image_id]]
            labels[-1] = 'dog' if labels[-1] != 'dog' else 'cup'
            corners = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], np.float32)
            corners[0, 2] += 3
            masks = np.zeros((len(boxes), *SIZE), np.uint8)
            for mask, (x1, y1, x2, y2) in zip(masks, corners.astype(int), strict=True):
                mask[y1:y2, x1:x2] = 1
            pred = dict(
                bboxes=torch.tensor(corners),
                scores=torch.linspace(0.9, 0.5, len(boxes)),
                labels=torch.tensor([classes.index(label) for label in labels]),
                masks=[coco_mask.encode(np.asfortranarray(mask)) for mask in masks],
            )
            built.process({}, [dict(img_id=ids(image_id), ori_shape=SIZE, pred_instances=pred)])
        return built.evaluate(len(BOXES))

    return run


@pytest.fixture
def expected(evaluate) -> dict:
    found = evaluate(make_content(), metric=CocoMetric)
    assert 0 < found['coco/bbox_mAP'] < 1 and 0 < found['coco/segm_mAP'] < 1
    return found


def test_registered():
    assert METRICS.get('CheckedCocoMetric') is CheckedCocoMetric


def test_sound_files_are_evaluated_as_mmdet_does(evaluate, expected):
    assert evaluate(make_content()) == expected


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_byte_order_marks(evaluate, expected, encoding):
    assert evaluate(make_content(), encoding=encoding) == expected


def numbered(number):
    def change(content):
        for position, annotation in enumerate(content['annotations']):
            annotation['id'] = number(position)

    return change


def with_texts(content):
    for annotation in content['annotations']:
        annotation.update(bbox=[str(v) for v in annotation['bbox']], area=str(annotation['area']), iscrowd='0')
        annotation.update(image_id=str(annotation['image_id']), category_id=str(annotation['category_id']))
        annotation['segmentation'] = [[str(v) for v in annotation['segmentation'][0]]]


def without(*keys):
    def change(content):
        for annotation in content['annotations']:
            for key in keys:
                del annotation[key]

    return change


def with_short_polygon(content):
    content['annotations'][0]['segmentation'].insert(0, [1, 2, 3, 4])


def with_area(area):
    def change(content):
        for annotation in content['annotations']:
            annotation['area'] = area

    return change


def with_group(content):
    content['categories'].insert(0, dict(id=0, name='cup'))


@pytest.mark.parametrize(
    'change',
    [
        numbered(str),
        numbered(lambda position: f'a{position}'),
        numbered(lambda position: position),
        without('id'),
        without('iscrowd', 'area'),
        without('bbox'),
        with_area(0),
        with_area(0.1),
        with_area(1e11),
        with_texts,
        with_short_polygon,
        with_group,
    ],
)
def test_what_the_datasets_take_is_evaluated_alike(evaluate, expected, change):
    content = make_content()
    change(content)
    assert evaluate(content) == expected


def test_ids_of_images_that_are_texts(evaluate, expected):
    content = make_content()
    for image in content['images']:
        image['id'] = f'page {image["id"]}'
    for annotation in content['annotations']:
        annotation['image_id'] = f'page {annotation["image_id"]}'
    assert evaluate(content, ids=lambda image_id: f'page {image_id}') == expected


def test_classes_are_found_by_name(evaluate, expected):
    content = make_content()
    content['categories'].reverse()
    assert evaluate(content) == expected
    assert evaluate(content, classes=('dog', 'cup', 'cat')) == expected
    wrong = evaluate(content, classes=('dog', 'cup', 'cat'), metric=CocoMetric)
    assert wrong != expected, 'mmdet takes them by their order'


def test_each_class_has_its_own_value(evaluate):
    """COCOeval sorts the category ids, and mmdet takes the rows for those of the file's order."""
    content = make_content()
    by_file = {}
    for order in (1, -1):
        changed = copy.deepcopy(content)
        changed['categories'] = changed['categories'][::order]
        path_values = evaluate(changed, classwise=True)
        by_file[order] = {name: path_values[f'coco/{name}_precision'] for name in CLASSES}
    assert by_file[1] == by_file[-1]
    assert len(set(by_file[1].values())) > 1


def test_what_says_ignore_is_neither_hit_nor_miss(evaluate):
    content = make_content()
    kept = evaluate(content)
    for annotation in content['annotations']:
        if annotation['category_id'] == 1:
            annotation['ignore'] = 1
    ignored = evaluate(content)
    for annotation in content['annotations']:
        if annotation.pop('ignore', 0):
            annotation['iscrowd'] = 1
    assert ignored == evaluate(content) != kept


@pytest.mark.parametrize(
    'changes',
    [
        dict(bbox=[4, 4, 0.5, 10]),
        dict(bbox=[100, 100, 20, 10]),
        dict(segmentation=[[4, 4, 4.2, 4, 4.2, 4.2]]),
        dict(segmentation=[[104, 104, 124, 104, 124, 114]], bbox=[104, 104, 20, 10]),
    ],
)
def test_what_is_left_out_of_training_counts_as_in_published_numbers(evaluate, expected, changes):
    content = make_content()
    content['annotations'][0].update(changes)
    found = evaluate(content)
    assert found == evaluate(content, metric=CocoMetric)
    assert found['coco/segm_mAP'] < expected['coco/segm_mAP'] or found['coco/bbox_mAP'] < expected['coco/bbox_mAP']


def test_what_the_datasets_reject_is_rejected(evaluate):
    content = make_content()
    content['annotations'][3]['segmentation'] = []
    with pytest.raises(DataError, match=r'val\.json: 1 problem\(s\)\n.*annotation 4 .*masks are needed'):
        evaluate(content)
    for annotation in content['annotations']:
        annotation['iscrowd'] = 1
        annotation['segmentation'] = annotation['segmentation'] or [[1, 1, 9, 1, 9, 9]]
    with pytest.raises(DataError, match='all 5 objects are crowds'):
        evaluate(content)


def test_classes_that_the_file_lacks_are_named(evaluate):
    content = make_content()
    del content['categories'][2]
    with pytest.raises(DataError, match=r"metainfo.classes has \['dog'\]"):
        evaluate(content)


def test_things_of_a_panoptic_dataset(tmp_path):
    path = tmp_path / 'val.json'
    path.write_text(json.dumps(make_content()))
    metric = CheckedCocoMetric(str(path))
    metric.dataset_meta = dict(classes=(*CLASSES, 'sky'), thing_classes=CLASSES, stuff_classes=('sky',))
    assert metric.cat_ids == [1, 5, 9]


def test_without_a_file_mmdet_takes_the_data_samples():
    metric = CheckedCocoMetric()
    metric.dataset_meta = dict(classes=CLASSES)
    pred = dict(bboxes=torch.tensor([[4.0, 4, 24, 14]]), scores=torch.tensor([0.9]), labels=torch.tensor([2]))
    instance = dict(bbox=[4, 4, 24, 14], bbox_label=2, ignore_flag=0)
    metric.process({}, [dict(img_id=1, ori_shape=SIZE, pred_instances=pred, instances=[instance])])
    assert metric.evaluate(1)['coco/bbox_mAP'] == 1


def test_results_are_written_with_the_ids_of_the_file(evaluate, tmp_path):
    content = make_content()
    content['categories'].reverse()
    evaluate(content, classes=('dog', 'cup', 'cat'), format_only=True, outfile_prefix=str(tmp_path / 'found'))
    written = json.loads((tmp_path / 'found.bbox.json').read_text())
    assert [result['category_id'] for result in written] == [1, 9, 5, 9, 9]
