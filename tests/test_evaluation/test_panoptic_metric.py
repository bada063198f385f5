import json

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoPanopticDataset
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.fileio import register_backend
from mmengine.fileio.backends import LocalBackend
from mmengine.logging import MMLogger
from mmengine.structures import PixelData
from PIL import Image

from mmmaskdino.datasets import DataError, ids_to_rgb, read_panoptic_png
from mmmaskdino.evaluation import PanopticQualityMetric
from mmmaskdino.evaluation.panoptic_files import PanopticFiles
from mmmaskdino.evaluation.panoptic_metric import predicted_image

CLASSES = ('cup', 'person', 'sky')  # another order than the categories'
CATEGORIES = [
    dict(id=1, name='person', isthing=1),
    dict(id=9, name='sky', isthing=0),
    dict(id=47, name='cup', isthing=1),
]
VOID = len(CLASSES)
KEYS = [f'{k}{kind}' for k in ('PQ', 'SQ', 'RQ') for kind in ('', '_th', '_st')]


def sample(segments, image_id=1):
    """A data sample whose prediction is label + 1000 * instance per pixel."""
    data_sample = DetDataSample(metainfo=dict(img_id=image_id))
    data_sample.pred_panoptic_seg = PixelData(sem_seg=torch.tensor(segments, dtype=torch.int32)[None])
    return data_sample


@pytest.fixture
def build(tmp_path):
    """Builds the metric over two 4 x 1 images: a cup, a person and two pixels of sky; a cup and void."""
    id_maps = {1: [[5, 6, 7, 7]], 2: [[5, 5, 0, 0]]}
    categories = {5: 47, 6: 1, 7: 9}
    annotations = []
    for image_id, id_map in id_maps.items():
        Image.fromarray(ids_to_rgb(np.array(id_map))).save(tmp_path / f'{image_id}.png')
        infos = [dict(id=int(i), category_id=categories[int(i)]) for i in np.unique(id_map) if i]
        annotations.append(dict(image_id=image_id, file_name=f'{image_id}.png', segments_info=infos))
    path = tmp_path / 'pan.json'

    def _build(classes=CLASSES, **arguments):
        images = [dict(id=image_id, file_name=f'folder/{image_id}.jpg') for image_id in id_maps]
        path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=CATEGORIES)))
        metric = METRICS.build(
            dict(type='PanopticQualityMetric', ann_file=str(path), seg_prefix=str(tmp_path)) | arguments
        )
        metric.dataset_meta = dict(classes=classes)
        return metric

    return _build


def evaluate(metric, samples, size=2):
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = metric.dataset_meta
    evaluator.process(data_samples=samples)
    return evaluator.evaluate(size)


def test_counts_follow_the_order_of_the_classes(build):
    metrics = evaluate(build(), [sample([[1000, 2001, 2, 2]]), sample([[3000, 3000, VOID, VOID]], 2)])
    assert metrics == {f'coco_panoptic/{k}': 100.0 for k in KEYS}


def test_segment_of_class_zero_without_instance_number_is_no_void(build):
    metrics = evaluate(build(), [sample([[0, 1001, 2, 2]]), sample([[0, 0, VOID, VOID]], 2)])
    assert metrics['coco_panoptic/PQ'] == 100.0


def test_instances_of_a_class_are_apart(build):
    # The first image's cup is right, the second's is torn in two: one true positive, one miss, two false positives.
    metrics = evaluate(build(), [sample([[1000, 2001, 2, VOID]]), sample([[1000, 2000, VOID, VOID]], 2)])
    pq_cup, pq_person, pq_sky = 1 / 2.5, 1.0, 0.0
    assert metrics['coco_panoptic/PQ_th'] == pytest.approx(100 * (pq_cup + pq_person) / 2)
    assert metrics['coco_panoptic/PQ_st'] == pytest.approx(100 * pq_sky)
    assert metrics['coco_panoptic/PQ'] == pytest.approx(100 * (pq_cup + pq_person + pq_sky) / 3)


def test_results_are_small_and_gathered_once(build):
    samples = [sample([[1000, 2001, 2, 2]]), sample([[3000, 3000, VOID, VOID]], 2)]
    metric = build()
    metric.process(None, [s.to_dict() for s in samples])
    assert sum(array.nbytes for counts, _ in metric.results for array in counts) < 500
    assert all(annotation is None for _, annotation in metric.results)
    # A sampler repeats images to fill the last batch; only the first `size` results count.
    metric.results.append(metric.results[0])
    assert metric.evaluate(2)['coco_panoptic/PQ'] == 100.0


@pytest.mark.parametrize('format_only', [False, True])
def test_written_results_can_be_evaluated(build, tmp_path, format_only):
    metric = build(outfile_prefix=str(tmp_path / 'results/run'), format_only=format_only)
    metrics = evaluate(metric, [sample([[1000, 2001, 2, 2]]), sample([[3000, 3000, 1001, VOID]], 2)])
    assert metrics.keys() == (set() if format_only else {f'coco_panoptic/{k}' for k in KEYS})
    labels = {1: 1, 9: 2, 47: 0}
    results = PanopticFiles(str(tmp_path / 'results/run.panoptic.json'), str(tmp_path / 'results/run.panoptic'), labels)
    image = results.load(2)
    np.testing.assert_array_equal(image.id_map == 0, [[False, False, False, True]])
    by_id = dict(zip(image.ids.tolist(), image.labels.tolist(), strict=True))
    assert [by_id[i] for i in image.id_map[0, :3]] == [0, 0, 1]
    assert results.load(1).labels.tolist() == [2, 0, 1]


def test_format_only_needs_no_ground_truth(build, tmp_path):
    metric = build(outfile_prefix=str(tmp_path / 'run'), format_only=True, seg_prefix='nowhere')
    metric.process(None, [sample([[1000, 2001, 2, 2]]).to_dict()])
    assert metric.results[0][0] is None


def test_format_only_needs_a_place():
    with pytest.raises(
        ValueError, match='PanopticQualityMetric: format_only=True needs an outfile_prefix to write to$'
    ):
        PanopticQualityMetric('pan.json', 'pan', format_only=True)


def test_image_without_ground_truth(build):
    with pytest.raises(DataError, match=r'pan\.json: no annotation for the image with id 3'):
        evaluate(build(), [sample([[0, 0, 0, 0]], 3)])


def test_missing_png_is_named(build, tmp_path):
    (tmp_path / '2.png').unlink()
    with pytest.raises(DataError, match=r'2\.png'):
        evaluate(build(), [sample([[0, 0, 0, 0]], 2)])


def test_prediction_of_another_size_names_the_file(build):
    with pytest.raises(DataError, match=r'image 1: expected the size of the ground truth .*1\.png, 4 x 1, got 2 x 1'):
        evaluate(build(), [sample([[0, 0]])])


def test_class_without_category(build):
    with pytest.raises(DataError, match=r"pan\.json: .*\['dog'\]"):
        evaluate(build(classes=(*CLASSES, 'dog')), [sample([[0, 0, 0, 0]])])


def test_segment_whose_category_is_no_class(build):
    with pytest.raises(DataError, match='image 1, segment 7: category 9 is not among the classes'):
        evaluate(build(classes=CLASSES[:2]), [sample([[0, 0, 0, 0]])])


def test_label_beyond_the_classes(build):
    with pytest.raises(DataError, match='image 1: label 17 of 3 classes'):
        evaluate(build(), [sample([[17, 0, 0, 0]])])


def test_missing_prediction(build):
    with pytest.raises(DataError, match='image 1: no panoptic result'):
        evaluate(build(), [DetDataSample(metainfo=dict(img_id=1))])


def test_nothing_evaluated(build):
    with pytest.raises(DataError, match='nothing was evaluated'):
        build().compute_metrics([])


def test_public_numbers(shared_data):
    """Recorded predictions, written as a model would return them, against the public evaluation's results."""
    expected = json.loads((shared_data / 'pq_reference/expected.json').read_text())
    annotations = shared_data / 'coco_tiny/annotations'
    metric = PanopticQualityMetric(str(annotations / 'panoptic_val2017.json'), str(annotations / 'panoptic_val2017'))
    metric.dataset_meta = CocoPanopticDataset.METAINFO
    metrics = evaluate(metric, list(recorded_samples(shared_data)), size=30)
    for name, suffix in (('All', ''), ('Things', '_th'), ('Stuff', '_st')):
        for key in ('pq', 'sq', 'rq'):
            assert metrics[f'coco_panoptic/{key.upper()}{suffix}'] == pytest.approx(100 * expected[name][key], abs=1e-7)


def recorded_samples(shared_data):
    """Data samples made of the recorded result files."""
    gt = json.loads((shared_data / 'coco_tiny/annotations/panoptic_val2017.json').read_text())
    pred = json.loads((shared_data / 'pq_reference/pred.json').read_text())
    names = {category['id']: category['name'] for category in gt['categories']}
    classes = CocoPanopticDataset.METAINFO['classes']
    for annotation in pred['annotations']:
        id_map = read_panoptic_png(str(shared_data / 'pq_reference/pred_png' / annotation['file_name']))
        segments = np.full_like(id_map, len(classes))
        for instance, info in enumerate(annotation['segments_info']):
            segments[id_map == info['id']] = classes.index(names[info['category_id']]) + 1000 * instance
        yield sample(segments, annotation['image_id'])


@pytest.mark.parametrize('arguments', [dict(), dict(classwise=True)])
def test_printed_table(build, monkeypatch, arguments):
    printed = []
    monkeypatch.setattr(MMLogger, 'info', lambda self, message: printed.append(message))
    evaluate(build(**arguments), [sample([[1000, 2001, 2, 2]]), sample([[3000, 3000, VOID, VOID]], 2)])
    (text,) = printed
    title, _, *rows = text.splitlines()
    assert title == 'Panoptic quality'
    names = ['all', 'things', 'stuff', *(CLASSES if arguments else ())]
    assert [row.split()[0] for row in rows] == names


def test_arguments_of_every_metric(build, tmp_path):
    metrics = evaluate(build(prefix='val'), [sample([[1000, 2001, 2, 2]]), sample([[3000] * 2 + [VOID] * 2], 2)])
    assert metrics['val/PQ'] == 100.0
    assert build(collect_dir=str(tmp_path)).collect_dir == str(tmp_path)
    assert build(collect_device='gpu').collect_device == 'gpu'


class CountingBackend(LocalBackend):
    """Local files, and the names of those that were read."""

    names: list[str] = []

    def get(self, filepath):
        self.names.append(str(filepath).rpartition('/')[2])
        return super().get(filepath)


def test_files_are_read_through_the_backend(build, tmp_path):
    register_backend('counting', CountingBackend, force=True)
    CountingBackend.names.clear()
    metric = build(outfile_prefix=str(tmp_path / 'run'), backend_args=dict(backend='counting'))
    evaluate(metric, [sample([[1000, 2001, 2, 2]]), sample([[3000, 3000, VOID, VOID]], 2)])
    # The json for the categories, the annotations and the names of the images.
    assert sorted(CountingBackend.names) == ['1.png', '2.png', *['pan.json'] * 3]


def test_prediction_of_nothing():
    image = predicted_image(sample([[VOID, VOID]]).to_dict(), VOID)
    assert not image.id_map.any() and len(image.ids) == len(image.labels) == 0
    assert image.is_crowd.shape == (0,)


def test_predicted_segments_are_no_crowds():
    image = predicted_image(sample([[1000, 2001, VOID]]).to_dict(), VOID)
    assert image.is_crowd.tolist() == [False, False] and image.is_crowd.dtype == bool
    assert image.labels.tolist() == [0, 1]
