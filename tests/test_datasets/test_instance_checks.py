import pytest

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.instance_checks import InstanceChecker


def check(content: dict, drop: bool = False, **changes) -> AnnotationReport:
    report = AnnotationReport('x.json')
    arguments = {
        'images': {image['id']: image for image in content['images']},
        'category_names': {3: 'cat', 5: 'cup'},
        'cat_ids': [5, 3],
        'with_mask': True,
        'for_evaluation': False,
        'report': report,
    }
    InstanceChecker(**{**arguments, **changes}).check(content['annotations'], drop_unlisted_categories=drop)
    return report


@pytest.mark.parametrize('for_evaluation', [False, True])
def test_sound_annotations(instance_content, logged, for_evaluation):
    report = check(instance_content, for_evaluation=for_evaluation)
    report.raise_errors()
    report.log_warnings()
    assert logged == []


SQUARE = [2, 3, 12, 3, 12, 11, 2, 11]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'image_id': 4242}, 'no image has this id'),
        ({'category_id': 77}, 'category id 77 is not among'),
        ({'bbox': [1, 2, 3]}, r'bbox must be \[x, y, width, height\]'),
        ({'bbox': None}, 'bbox must be'),
        ({'bbox': [1, 2, 3, '4']}, 'bbox must be'),
        ({'bbox': [1, 2, float('nan'), 4]}, 'bbox must be'),
        ({'area': None}, 'area a number'),
        ({'bbox': [9, 9, -4, 5]}, 'size below 0'),
        ({'segmentation': None}, 'missing or empty'),
        ({'segmentation': []}, 'missing or empty'),
        ({'segmentation': [[]]}, 'at least three points'),
        ({'segmentation': [[1, 2, 3, 4], [1, 2]]}, r'lengths \[4, 2\]'),
        ({'segmentation': SQUARE}, 'list of polygons'),
        ({'segmentation': [SQUARE, SQUARE[:7]]}, r'odd number of values \(lengths \[8, 7\]\)'),
        ({'segmentation': {'size': [30, 20], 'counts': [600]}}, r'\[20, 30\], got \[30, 20\]'),
        ({'segmentation': {'size': [20, 30], 'counts': [500, 99]}}, '600 pixels, got 599'),
        ({'segmentation': {'size': [20, 30]}}, "needs 'counts'"),
        ({'segmentation': {'size': [20, 30], 'counts': ''}}, "needs 'counts'"),
    ],
)
def test_faulty_annotations_are_named(instance_content, change, message):
    instance_content['annotations'][0].update(change)
    report = check(instance_content)
    assert report.num_errors == 1
    with pytest.raises(DataError, match=message) as caught:
        report.raise_errors()
    assert f'annotation 1 (image {change.get("image_id", "7, a.jpg")})' in str(caught.value)


def test_annotation_ids_are_unique(instance_content):
    instance_content['annotations'][0]['id'] = 2
    with pytest.raises(DataError, match='annotation id 2 is given 2 times'):
        check(instance_content).raise_errors()


@pytest.mark.parametrize('key', ['id', 'image_id', 'category_id', 'bbox', 'area', 'segmentation'])
def test_missing_keys(instance_content, key):
    del instance_content['annotations'][1][key]
    report = check(instance_content)
    assert report.num_errors == 1
    with pytest.raises(DataError, match=f'annotation {None if key == "id" else 2} .*{key}.* missing'):
        report.raise_errors()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'bbox': [40, 3, 5, 5]}, 'box outside the image'),
        ({'bbox': [2, -9, 5, 9]}, 'box outside the image'),
        ({'bbox': [2, 3, 5, 0]}, 'below one pixel'),
        ({'bbox': [2, 3, 0.5, 7]}, 'below one pixel'),
        ({'area': 0}, 'area 0'),
        ({'ignore': 1}, "say 'ignore'"),
        ({'segmentation': [SQUARE, [1, 2, 3, 4]]}, 'polygons below three points left out'),
    ],
)
def test_odd_annotations_are_warned_of(instance_content, logged, change, message):
    instance_content['annotations'][0].update(change)
    report = check(instance_content)
    report.raise_errors()
    report.log_warnings()
    assert len(logged) == 1
    assert message in logged[0]
    assert 'annotation 1 (image 7, a.jpg)' in logged[0]


def test_what_evaluation_cannot_take(instance_content, logged):
    first, second = instance_content['annotations']
    first['segmentation'].append([1, 2, 3, 4])
    del second['iscrowd']
    check(instance_content).raise_errors()
    report = check(instance_content, for_evaluation=True)
    assert report.num_errors == 2
    with pytest.raises(DataError, match="needs the key 'iscrowd'"):
        report.raise_errors()

    first['id'] = 0
    check(instance_content).log_warnings()
    assert 'annotation id 0' not in logged[-1]
    check(instance_content, for_evaluation=True).log_warnings()
    assert 'annotation id 0' in logged[-1]


def test_segmentations_matter_only_if_masks_are_loaded(instance_content):
    instance_content['annotations'][0]['segmentation'] = []
    check(instance_content, with_mask=False).raise_errors()


def test_unlisted_categories_are_named_or_left_out_on_request(instance_content, logged):
    report = check(instance_content, cat_ids=[3])
    with pytest.raises(DataError, match=r"'cup' \(id 5\) has 1 annotation.*annotation 1 .*drop_unlisted_categories"):
        report.raise_errors()
    report = check(instance_content, drop=True, cat_ids=[3])
    report.raise_errors()
    report.log_warnings()
    assert "'cup' (id 5), 1 annotations" in logged[0]


def test_faulty_images_give_no_further_errors(instance_content):
    assert check(instance_content, images={7: None, 9: None}).num_errors == 0


def test_no_annotations_at_all(instance_content, logged):
    instance_content['annotations'] = []
    report = check(instance_content)
    report.raise_errors()
    report.log_warnings()
    assert 'no annotation at all' in logged[0]
