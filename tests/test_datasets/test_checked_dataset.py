import pickle

import numpy as np
import pytest
from mmcv.transforms import BaseTransform

from mmmaskdino.datasets import CheckedCocoDataset, LoadCheckedImage
from mmmaskdino.datasets.checked_dataset import iterate_transforms
from mmmaskdino.datasets.files import DataError

CLASSES = {'classes': ('cup', 'cat')}
LOAD = [{'type': 'LoadImageFromFile'}, {'type': 'mmdet.LoadAnnotations', 'with_bbox': True, 'with_mask': True}]


def build(root, pipeline=LOAD, **kwargs) -> CheckedCocoDataset:
    arguments = {
        'data_root': str(root),
        'ann_file': 'annotations.json',
        'data_prefix': {'img': ''},
        'metainfo': CLASSES,
    }
    return CheckedCocoDataset(pipeline=pipeline, **{**arguments, **kwargs})


class Fail(BaseTransform):
    def __init__(self, outcome):
        self.outcome = outcome

    def transform(self, results):
        if self.outcome is not None:
            raise self.outcome
        return None


@pytest.mark.parametrize(
    'transform',
    [
        {'type': 'mmdet.RandomCrop', 'crop_size': (8, 8)},
        {'type': 'mmdet.FilterAnnotations'},
        {'type': 'RandomChoice', 'transforms': [[], [{'type': 'mmdet.RandomCrop', 'crop_size': (8, 8)}]]},
        {'type': 'RandomApply', 'transforms': [{'type': 'mmdet.FilterAnnotations'}]},
    ],
)
def test_transforms_that_would_skip_images_are_rejected(write_dataset, instance_content, transform):
    root = write_dataset(instance_content)
    with pytest.raises(DataError, match='would skip images without objects; set (allow_negative_crop=T|keep_empty=F)'):
        build(root, [*LOAD, transform])
    assert len(build(root, [*LOAD, transform], test_mode=True)) == 2


def test_transforms_that_keep_images_are_accepted(write_dataset, instance_content):
    pipeline = [
        *LOAD,
        {'type': 'mmdet.RandomCrop', 'crop_size': (8, 8), 'allow_negative_crop': True},
        {'type': 'mmdet.FilterAnnotations', 'keep_empty': False},
        {'type': 'mmdet.PackDetInputs'},
    ]
    dataset = build(write_dataset(instance_content), pipeline)
    assert [len(dataset[index]['data_samples'].gt_instances) for index in (1, 1)] == [0, 0]


@pytest.mark.parametrize('test_mode', [False, True])
def test_none_from_the_pipeline_is_an_error(write_dataset, instance_content, test_mode):
    dataset = build(write_dataset(instance_content), [*LOAD, Fail(None)], test_mode=test_mode)
    with pytest.raises(DataError, match=r'image 9 \(.*b\.jpg\) of .*annotations\.json: .*returned None'):
        dataset[1]


@pytest.mark.parametrize(('error', 'message'), [(KeyError('x'), "KeyError: 'x'"), (DataError('why'), 'why')])
def test_errors_of_the_pipeline_name_the_image(write_dataset, instance_content, error, message):
    dataset = build(write_dataset(instance_content), [*LOAD, Fail(error)])
    with pytest.raises(DataError, match=rf'image 7 \(.*a\.jpg\) of .*annotations\.json: {message}'):
        dataset[0]


def test_errors_survive_the_way_out_of_a_worker_process(write_dataset, instance_content):
    dataset = build(write_dataset(instance_content), [*LOAD, Fail(KeyError('x'))])
    with pytest.raises(DataError) as caught:
        dataset[0]
    # PyTorch makes a new error of the same type from the text.
    assert str(type(caught.value)(str(caught.value))) == str(caught.value)
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), DataError)


def test_dataset_can_be_pickled(write_dataset, instance_content):
    dataset = pickle.loads(pickle.dumps(build(write_dataset(instance_content))))
    assert dataset[0]['img'].shape == (20, 30, 3)


def test_files_are_looked_for_at_start(write_dataset, instance_content):
    instance_content['annotations'][0]['image_id'] = 1
    root = write_dataset(instance_content)
    (root / 'a.jpg').unlink()
    with pytest.raises(DataError, match='2 problem') as caught:
        build(root)
    assert f'no file at {root}/a.jpg' in str(caught.value)
    assert 'annotation 1 (image 1)' in str(caught.value)


def test_each_image_without_file_counts(write_dataset, instance_content):
    for image in instance_content['images']:
        image['file_name'] = 'gone.jpg'
    with pytest.raises(DataError, match=r'2 problem\(s\)\n  - 2 of 2 images: the file is not there.*image 7.*image 9'):
        build(write_dataset(instance_content))


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_byte_order_marks(write_dataset, instance_content, encoding):
    root = write_dataset(instance_content)
    path = root / 'annotations.json'
    path.write_bytes(path.read_text().encode(encoding))
    assert len(build(root)) == 2


@pytest.mark.parametrize('test_mode', [False, True])
def test_what_is_read_otherwise_than_it_stands_in_the_file(write_dataset, instance_content, logged, test_mode):
    first, second = instance_content['annotations']
    first.update(image_id='7', area=0, bbox=['2', 3, 10, 8], iscrowd='0')
    del second['iscrowd']
    instance_content['categories'].append({'id': 4, 'name': 'cup'})
    instances = build(write_dataset(instance_content), test_mode=test_mode).get_data_info(0)['instances']
    assert [(i['bbox'], i['bbox_label'], i['ignore_flag']) for i in instances] == [
        ([2, 3, 12, 11], 0, 0),
        ([0, 0, 30, 1], 1, 0),
    ]
    (warning,) = logged
    for kind in ('is a text where', 'numbers in quotes', "without 'iscrowd'", 'that of the mask', 'name of another'):
        assert kind in warning


@pytest.mark.parametrize(
    ('content', 'message'),
    [(b'', '0 bytes'), (b'{"images": [', 'not a valid json file'), (b'\xff\xfe\x00', 'not a valid json file')],
)
def test_unreadable_annotation_file(tmp_path, content, message):
    (tmp_path / 'annotations.json').write_bytes(content)
    with pytest.raises(DataError, match=rf'annotations\.json: .*{message}'):
        build(tmp_path)


def test_missing_annotation_file_and_prefix(tmp_path):
    with pytest.raises(DataError, match=r'annotations\.json.*cannot be read'):
        build(tmp_path)
    with pytest.raises(DataError, match="data_prefix needs the key 'img'"):
        build(tmp_path, data_prefix={'img_path': ''})


def test_filtering_is_told_and_must_leave_something(write_dataset, instance_content, monkeypatch):
    told = []
    monkeypatch.setattr('mmmaskdino.datasets.checked_dataset.print_log', lambda message, *args: told.append(message))
    root = write_dataset(instance_content)
    assert len(build(root)) == 2
    assert told == []
    assert len(build(root, filter_cfg={'filter_empty_gt': True})) == 1
    assert 'leaves out 1 of 2 images' in told[0]
    with pytest.raises(DataError, match='leaves none of 2 images'):
        build(root, filter_cfg={'min_size': 99})


def test_the_loader_is_replaced_and_options_are_named(write_dataset, instance_content):
    root = write_dataset(instance_content)
    assert isinstance(build(root).pipeline.transforms[0], LoadCheckedImage)
    with pytest.raises(TypeError, match='no_such_option'):
        build(root, no_such_option=1)


def test_iterate_transforms_walks_into_wrappers():
    class Wrapper:
        def __init__(self, *transforms):
            self.transforms = list(transforms)

    inner = Wrapper(1, [2, Wrapper(3)])
    assert [part for part in iterate_transforms([inner, 4]) if isinstance(part, int)] == [1, 2, 3, 4]


def test_images_without_objects_are_loaded(write_dataset, instance_content):
    dataset = build(write_dataset(instance_content), [*LOAD, {'type': 'mmdet.PackDetInputs'}])
    sample = dataset[1]['data_samples']
    assert len(sample.gt_instances) == 0
    assert sample.gt_instances.masks.masks.shape == (0, 20, 30)
    assert np.array_equal(sample.ori_shape, (20, 30))
