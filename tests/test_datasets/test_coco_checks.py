import codecs
import json

import pytest

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.coco_checks import check_categories, check_lists, index_images, read_json, tidy
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


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([], r'json object.*got a list: \[\]'),
        ([{'image_id': 7}], r'json object.*got a list: \[{"image_id": 7}\]'),
        ({'images': []}, 'dataset is empty'),
        ({'images': {'7': {}}, 'annotations': []}, r"'images' must be a list of objects, got {\"7\": {}}"),
        ({'images': [1, {}, None]}, "'images' must be a list of objects, got 2 that are none: 1"),
    ],
)
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
        ({'width': '30'}, 'got 20 and "30"'),
        ({'width': None}, 'got 20 and null'),
        ({'width': 30.5}, 'got 20 and 30.5'),
        ({'width': True}, 'got 20 and true'),
        ({'id': None}, 'must be a number or a text, got null'),
        ({'id': [7]}, r'must be a number or a text, got \[7\]'),
        ({'id': True}, 'must be a number or a text, got true'),
        ({'id': '7'}, 'all numbers or all texts, got 9 and "7"'),
        ({'file_name': 5}, 'file_name must be a text.*got 5'),
        ({'file_name': ''}, 'file_name must be a text.*got ""'),
        ({'id': 9}, 'another image has the same id'),
    ],
)
def test_faulty_images_are_named(report, instance_content, change, message):
    instance_content['images'][0].update(change)
    index = index_images(instance_content['images'], report)
    with pytest.raises(DataError, match=message) as caught:
        report.raise_errors()
    assert '.jpg' in str(caught.value) or 'file_name' in change or change.get('id') == '7'
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
    assert check_categories(CATEGORIES, ('dog', 'cup', 'cat'), report) == [8, 5, 3], 'in the order of the classes'


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (('cup', 'horse'), r"\['horse'\].*not among the categories"),
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


def test_ids_of_categories_are_of_one_kind(report):
    with pytest.raises(DataError, match=r'\'categories\' must be all numbers or all texts, got 5 and "3"'):
        check_categories([CATEGORIES[0], {'id': '3', 'name': 'cat'}], (), report)


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-32'])
def test_every_encoding_of_unicode_is_read(tmp_path, instance_content, encoding):
    instance_content['categories'][0]['name'] = 'Tässchen'
    path = tmp_path / 'x.json'
    path.write_bytes(json.dumps(instance_content, ensure_ascii=False).encode(encoding))
    assert read_json(str(path)) == instance_content
    assert path.read_bytes().startswith(codecs.BOM_UTF8) == (encoding == 'utf-8-sig')


@pytest.mark.parametrize('content', [b'{"images": [', b'[' * 100_000, '{"a": "ä"}'.encode('latin-1')])
def test_files_that_are_no_json_are_named(tmp_path, content):
    path = tmp_path / 'x.json'
    path.write_bytes(content)
    with pytest.raises(DataError, match=r'x\.json: not a valid json file') as caught:
        read_json(str(path))
    assert ('save it in UTF-8' in str(caught.value)) == (b'\xe4' in content)


def test_sound_content_stays_as_it_is(report, instance_content, panoptic_content):
    for content in (instance_content, panoptic_content):
        assert tidy(content, report) == content
    assert not report.remarks and report.num_errors == 0


@pytest.mark.parametrize(('key', 'entries'), [('image_id', 'images'), ('category_id', 'categories')])
@pytest.mark.parametrize('text_in_entries', [False, True])
def test_a_number_and_its_text_are_the_same_id(report, instance_content, key, entries, text_in_entries):
    before = json.dumps(instance_content)
    changed = json.loads(before)
    if text_in_entries:
        for entry in changed[entries]:
            entry['id'] = str(entry['id'])
    else:
        for annotation in changed['annotations']:
            annotation[key] = str(annotation[key])
    tidied = tidy(changed, report)
    expected = [str(a[key]) if text_in_entries else a[key] for a in instance_content['annotations']]
    assert [annotation[key] for annotation in tidied['annotations']] == expected
    ((kind, places),) = report.remarks.items()
    assert kind.startswith(f'{key} is a text where the id is a number') and len(places) == 2
    given = instance_content['annotations'][0][key]
    pair = f'{given} for "{given}"' if text_in_entries else f'"{given}" for {given}'
    assert places[0] == f'annotation 1: {pair}'
    assert json.dumps(instance_content) == before


def test_segments_of_panoptic_data(report, panoptic_content):
    before = json.dumps(panoptic_content)
    changed = json.loads(before)
    for segment in changed['annotations'][0]['segments_info']:
        segment['category_id'] = str(segment['category_id'])
    changed['annotations'][0]['image_id'] = '7'
    assert tidy(changed, report) == panoptic_content
    places = report.remarks[
        'category_id is a text where the id is a number, or the other way round; taken for the same'
    ]
    assert places[0] == 'segment 70000: "90" for 90' and len(places) == 4


@pytest.mark.parametrize('given', ['07', '7.0', 'x', [7], {}, 7.5, None])
def test_other_ids_stay_unknown(report, instance_content, given):
    instance_content['annotations'][0]['image_id'] = given
    tidied = tidy(instance_content, report)
    assert not report.remarks
    assert tidied['annotations'][0]['image_id'] not in {7, 9}


def test_sizes_of_images(report, instance_content):
    instance_content['images'][0].update(width='30', height=20.0)
    tidied = tidy(instance_content, report)
    size = [tidied['images'][0][key] for key in ('width', 'height')]
    assert size == [30, 20] and all(type(number) is int for number in size)
    assert report.remarks == {'images whose size is in quotes, taken as numbers': ['image 7']}


def test_images_with_an_address_alone(report, instance_content):
    del instance_content['images'][0]['file_name']
    instance_content['images'][0]['coco_url'] = 'http://images.cocodataset.org/val2017/000000000139.jpg'
    assert tidy(instance_content, report)['images'][0]['file_name'] == 'val2017/000000000139.jpg'
    assert len(report.remarks) == 1


def test_repeated_categories(report, instance_content):
    cup, cat = instance_content['categories']
    group = {'id': 0, 'name': 'cup', 'supercategory': 'none'}
    instance_content['categories'] = [group, cup, cat, dict(cat), {'id': 11, 'name': 'dog'}]
    assert tidy(instance_content, report)['categories'] == [cup, cat, {'id': 11, 'name': 'dog'}]
    assert report.remarks == {
        'categories without objects that have the name of another, left out': ['"cup" (id 0)'],
        'categories listed twice, taken once': ['"cat" (id 3)'],
    }


def test_two_names_that_both_have_objects_stay(report, instance_content):
    instance_content['categories'][1]['name'] = 'cup'
    categories = tidy(instance_content, report)['categories']
    with pytest.raises(DataError, match=r'its own \'name\', got \["cup", "cup"\]; more than once: \["cup"\]'):
        check_categories(categories, ('cup',), report)


@pytest.mark.parametrize('key', ['id', 'name'])
def test_categories_that_lack_a_key_are_rejected_later(report, instance_content, key):
    del instance_content['categories'][0][key]
    assert tidy(instance_content, report)['categories'] == instance_content['categories']


def test_of_two_empty_categories_of_one_name_one_stays(report, instance_content):
    instance_content['categories'] += [{'id': 20, 'name': 'dog'}, {'id': 21, 'name': 'dog'}]
    assert [c['id'] for c in tidy(instance_content, report)['categories']] == [5, 3, 21]
