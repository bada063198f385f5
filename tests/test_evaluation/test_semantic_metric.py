import json

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.structures import PixelData
from PIL import Image

from mmmaskdino.datasets import DataError, ids_to_rgb

CLASSES = ('cup', 'person', 'sky')  # another order than the categories'
CATEGORIES = [
    dict(id=1, name='person', isthing=1),
    dict(id=9, name='sky', isthing=0),
    dict(id=47, name='cup', isthing=1),
]
SEGMENTS = {5: 47, 6: 1, 7: 9, 8: 47}


def sample(labels, image_id=1):
    data_sample = DetDataSample(metainfo=dict(img_id=image_id))
    data_sample.pred_sem_seg = PixelData(sem_seg=torch.tensor([labels]))
    return data_sample


@pytest.fixture
def metric(tmp_path):
    """Two 6 x 1 images: a cup, a person, two pixels of sky, a crowd of cups and void; sky."""
    id_maps = {1: [[5, 6, 7, 7, 8, 0]], 2: [[7, 7, 7, 7, 7, 7]]}
    annotations = []
    for image_id, id_map in id_maps.items():
        Image.fromarray(ids_to_rgb(np.array(id_map))).save(tmp_path / f'{image_id}.png')
        infos = [dict(id=i, category_id=SEGMENTS[i], iscrowd=int(i == 8)) for i in sorted(set(id_map[0])) if i]
        annotations.append(dict(image_id=image_id, file_name=f'{image_id}.png', segments_info=infos))
    path = tmp_path / 'pan.json'
    path.write_text(json.dumps(dict(images=[], annotations=annotations, categories=CATEGORIES)))
    built = METRICS.build(dict(type='PanopticIoUMetric', ann_file=str(path), seg_prefix=str(tmp_path)))
    built.dataset_meta = dict(classes=CLASSES)
    return built


def evaluate(metric, samples):
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = metric.dataset_meta
    for data_sample in samples:
        evaluator.process([data_sample])
    return evaluator.evaluate(len(samples))


def test_all_right(metric):
    scores = evaluate(metric, [sample([[0, 1, 2, 2, 0, 1]]), sample([[2] * 6], 2)])
    assert scores['semantic/mIoU'] == 100 and scores['semantic/mAcc'] == 100


def test_by_hand(metric):
    """Cups: 1 of 2 found, 1 of sky taken for a cup: 1 / 3. Person: 1 / 2, a cup too many. Sky: 7 / 8. Void is free."""
    scores = evaluate(metric, [sample([[0, 1, 2, 0, 1, 0]]), sample([[2] * 6], 2)])
    assert scores['semantic/mIoU'] == pytest.approx(100 * (1 / 3 + 1 / 2 + 7 / 8) / 3, abs=0.01)
    assert scores['semantic/mAcc'] == pytest.approx(100 * (1 / 2 + 1 + 7 / 8) / 3, abs=0.01)


def test_missing_result_and_wrong_size(metric):
    with pytest.raises(DataError, match='image 1: no semantic result; .*semantic_on=True'):
        evaluate(metric, [DetDataSample(metainfo=dict(img_id=1))])
    with pytest.raises(DataError, match=r'image 1: a prediction of \(1, 2\) .* truth of \(1, 6\)'):
        evaluate(metric, [sample([[0, 1]])])
    with pytest.raises(DataError, match='no annotation for the image with id 3'):
        evaluate(metric, [sample([[0] * 6], 3)])
