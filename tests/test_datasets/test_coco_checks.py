import pytest

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.coco_checks import check_categories, check_lists, index_images
from mmmaskdino.datasets.files import DataError

CATEGORIES = [{'id': 5, 'name': 'cup'}, {'id': 3, 'name': 'cat'}, {'id': 8, 'name': 'dog'}]


@pytest.fixture
def report() -> AnnotationReport:
    return AnnotationReport('x.json')


@pytest.mark.parametrize('key', ['images', 'categories', 'annotations'])
def test_missing_and_malformed_lists(report, instance_content, key):
    instance_content[key] = None
    with pytest.raises(DataError, match=f"x.json.*\n.*'{key}' must be a list"):
        check_lists(instance_content, report, annotations_optional=False)
    del instance_content[key]
    with pytest.raises(DataError, match=f'no key {key!r}'):
        check_lists(instance_content, AnnotationReport('x.json'), annotations_optional=False)


def test_only_test_sets_may_lack_annotations(report, instance_content, logged):
    del instance_content['annotations']
    check_lists(instance_content, report, annotations_optional=True)
    report.log_warnings()
    assert "no key 'annotations'" in logged[0]


@pytest.mark.parametrize(('content', 'message'), [([], 'json object'), ({'images': []}, 'dataset is empty')])
def test_content_that_is_no_dataset(report, content, message):
    with pytest.raises(DataError, match=message):
        check_lists(content, report, annotations_optional=False)


def test_sound_images_are_indexed(report, instance_content):
    index = index_images(instance_content['images'], report)
    assert report.num_errors == 0
    assert [image['file_name'] for image in index.values()] == ['a.jpg', 'deep/b.jpg']
    assert list(index) == [7, 9]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'height': 1}, '30 x 1 pixels'),
        ({'width': 1}, '1 x 20 pixels'),
        ({'height': 0}, 'positive whole numbers'),
        ({'width': -3}, 'positive whole numbers'),
        ({'width': '30'}, "'30'"),
        ({'id': 9}, 'another image has the same id'),
    ],
)
def test_faulty_images_are_named(report, instance_content, change, message):
    instance_content['images'][0].update(change)
    index = index_images(instance_content['images'], report)
    with pytest.raises(DataError, match=message) as caught:
        report.raise_errors()
    assert '.jpg' in str(caught.value)
    assert 9 in index


@pytest.mark.parametrize('key', ['id', 'file_name', 'height', 'width'])
def test_missing_image_keys(report, instance_content, key):
    del instance_content['images'][1][key]
    index = index_images(instance_content['images'], report)
    assert index.get(9) is None
    with pytest.raises(DataError, match=rf'images\[1\].*{key}'):
        report.raise_errors()


def test_classes_are_mapped_by_name_and_may_be_fewer(report):
    report.error('an earlier one, which must not end the checks')
    assert check_categories(CATEGORIES, ('cup', 'cat', 'dog'), report) == [5, 3, 8]
    assert check_categories(CATEGORIES, ['cup', 'dog'], report) == [5, 8]


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (('cup', 'horse'), r"\['horse'\].*not among the categories"),
        (('cat', 'cup', 'dog'), 'order of the categories'),
        ('cup', r"write \('cup',\)"),
    ],
)
def test_classes_that_do_not_fit(report, classes, message):
    with pytest.raises(DataError, match=message):
        check_categories(CATEGORIES, classes, report)


@pytest.mark.parametrize('key', ['id', 'name'])
def test_categories_need_their_own_id_and_name(report, key):
    repeated = [*CATEGORIES, {**CATEGORIES[0], key: CATEGORIES[1][key]}]
    with pytest.raises(DataError, match=f"its own '{key}'"):
        check_categories(repeated, ('cup',), report)
    with pytest.raises(DataError, match=f"its own '{key}'"):
        check_categories([{k: v for k, v in CATEGORIES[0].items() if k != key}], (), AnnotationReport('x.json'))
