import pytest
from mmdet.evaluation.functional import INSTANCE_OFFSET

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.panoptic_checks import MAX_CLASSES, PanopticChecker, check_thing_order

METAINFO = {'classes': ('cup', 'cat', 'wall'), 'thing_classes': ('cup', 'cat'), 'stuff_classes': ('wall',)}


def check(content: dict, cat_ids: tuple = (5, 3, 90)) -> AnnotationReport:
    report = AnnotationReport('x.json')
    images = {image['id']: image for image in content['images']}
    names = {category['id']: category['name'] for category in content['categories']}
    PanopticChecker(images, names, list(cat_ids), report).check(content['annotations'])
    return report


def test_sound_annotations(panoptic_content, logged):
    report = check(panoptic_content)
    report.raise_errors()
    report.log_warnings()
    assert logged == []


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'category_id': 777}, 'this category id is not among .*got 777'),
        ({'id': 300}, r'must be unique, given more than once: \[300\]'),
        ({'id': 0}, r'must lie in \[1, 16777215\]'),
        ({'id': 256**3}, 'must lie in'),
        ({'id': 'x'}, 'must lie in'),
        ({'id': 5.0}, 'a whole number, got 5.0'),
        ({'id': [1]}, 'must lie in'),
        ({'category_id': [3]}, r'this category id is not among .*got \[3\]'),
        ({'bbox': [1, 2]}, r'bbox must be \[x, y, width, height\]'),
        ({'bbox': [1, 2, None, 4]}, r'bbox must be \[x, y, width, height\]'),
        ({'bbox': None}, r'bbox must be \[x, y, width, height\]'),
        ({'area': '25'}, 'area a number, got .* and "25"'),
        ({'area': float('nan')}, 'area a number'),
        ({'area': 10**400}, 'area a number'),
    ],
)
def test_faulty_segments_are_named(panoptic_content, change, message):
    panoptic_content['annotations'][0]['segments_info'][0].update(change)
    report = check(panoptic_content)
    assert report.num_errors == 1
    with pytest.raises(DataError, match=message) as caught:
        report.raise_errors()
    assert 'image 7 (a.png)' in str(caught.value)


@pytest.mark.parametrize('key', ['id', 'category_id', 'bbox', 'area'])
def test_missing_segment_keys(panoptic_content, key):
    del panoptic_content['annotations'][0]['segments_info'][1][key]
    with pytest.raises(DataError, match=f'image 7 .*{key}.* missing'):
        check(panoptic_content).raise_errors()


@pytest.mark.parametrize('key', ['image_id', 'file_name', 'segments_info'])
def test_missing_entry_keys(panoptic_content, key):
    del panoptic_content['annotations'][0][key]
    with pytest.raises(DataError, match=f'{key}.* missing'):
        check(panoptic_content).raise_errors()


def test_segments_must_be_a_list(panoptic_content):
    panoptic_content['annotations'][0]['segments_info'] = None
    with pytest.raises(DataError, match='must be a list of objects, got null'):
        check(panoptic_content).raise_errors()


def test_each_image_needs_one_entry(panoptic_content):
    (entry,) = panoptic_content['annotations']
    for entries, message in [([], 'got 0'), ([entry, entry], 'got 2'), ([entry, {**entry, 'image_id': 8}], 'no image')]:
        with pytest.raises(DataError, match=message):
            check({**panoptic_content, 'annotations': entries}).raise_errors()


def test_unlisted_category(panoptic_content):
    with pytest.raises(DataError, match="'wall' is not in metainfo.classes"):
        check(panoptic_content, cat_ids=(5, 3)).raise_errors()


def test_segment_without_pixels_is_warned_of(panoptic_content, logged):
    panoptic_content['annotations'][0]['segments_info'][1]['area'] = 0
    report = check(panoptic_content)
    report.raise_errors()
    report.log_warnings()
    assert 'segments left out: area 0 or box below one pixel: 1 (segment 300' in logged[0]


@pytest.mark.parametrize('change', [{'area': 0}, {'area': -1}, {'bbox': [0.1, 0.2, 0.5, 0.5]}])
def test_segments_that_are_all_left_out_are_an_error(panoptic_content, change):
    (entry,) = panoptic_content['annotations']
    images = {image['id']: image for image in panoptic_content['images']}
    for segment in entry['segments_info']:
        segment.update(change)
    report = AnnotationReport('x.json')
    checker = PanopticChecker(images, {5: 'cup', 3: 'cat', 90: 'wall'}, [5, 3, 90], report)
    checker.check([entry])
    with pytest.raises(DataError, match=r'all 4 segments have area 0 or .*segment 70000, .*datasets\.add_boxes'):
        report.raise_errors()
    assert report.num_errors == 1 and checker.faulty_images == {7}


@pytest.mark.parametrize(
    ('metainfo', 'isthing', 'message'),
    [
        ({}, [1, 1, 1], "'wall' has isthing=1, but is in metainfo.stuff_classes"),
        ({}, [1, 0, 0], "'cat' has isthing=0, but is in metainfo.thing_classes"),
        ({}, [1, 1, None], "1 of 3 categories need the key 'isthing' .*'wall'"),
        ({'thing_classes': ('cup',)}, [1, 1, 0], 'thing_classes followed by metainfo.stuff_classes'),
        ({'stuff_classes': ()}, [1, 1, 0], 'thing_classes followed by metainfo.stuff_classes'),
    ],
)
def test_things_come_first(metainfo, isthing, message):
    categories = [{'name': name, 'isthing': flag} for name, flag in zip(METAINFO['classes'], isthing, strict=True)]
    report = AnnotationReport('x.json')
    check_thing_order(categories, {**METAINFO, **metainfo}, report)
    with pytest.raises(DataError, match=message):
        report.raise_errors()


def test_sound_order(panoptic_content):
    report = AnnotationReport('x.json')
    check_thing_order(panoptic_content['categories'], METAINFO, report)
    assert report.num_errors == 0


def test_a_fault_of_all_segments_is_said_once(panoptic_content):
    (entry,) = panoptic_content['annotations']
    for segment in entry['segments_info']:
        del segment['bbox'], segment['area']
    report = check(panoptic_content)
    with pytest.raises(DataError) as caught:
        report.raise_errors()
    assert report.num_errors == 4 and len(report.lines()) == 1
    message = str(caught.value)
    assert (
        "4 of 4 segments: the key(s) ['bbox', 'area'] are missing" in message and 'segment 70000, panoptic' in message
    )
    assert 'computed from the PNGs: mmmaskdino.datasets.add_boxes' in message


def test_a_fault_of_many_segments_is_said_once(panoptic_content):
    (entry,) = panoptic_content['annotations']
    more = [{**entry['segments_info'][1], 'id': 1000 + index, 'bbox': None} for index in range(20)]
    content = {**panoptic_content, 'annotations': [{**entry, 'segments_info': entry['segments_info'] + more}]}
    (line,) = check(content).lines()
    assert line.startswith('20 of 24 segments: bbox must be [x, y, width, height]') and line.endswith(
        'also 1005 to 1019'
    )


def test_what_is_no_segment(panoptic_content):
    panoptic_content['annotations'][0]['segments_info'][1] = 7
    with pytest.raises(DataError, match='must be a list of objects, got'):
        check(panoptic_content).raise_errors()


def test_images_with_a_fault_are_known(panoptic_content):
    (entry,) = panoptic_content['annotations']
    images = {image['id']: image for image in panoptic_content['images']}
    checker = PanopticChecker(images, {5: 'cup', 3: 'cat', 90: 'wall'}, [5, 3, 90], AnnotationReport('x.json'))
    checker.check([entry])
    assert not checker.faulty_images
    checker.check([{**entry, 'file_name': 's3://a/b.png'}])
    assert checker.faulty_images == {7}


def test_more_classes_than_results_can_name():
    names = tuple(map(str, range(1000)))
    metainfo = {'classes': names, 'thing_classes': names, 'stuff_classes': ()}
    report = AnnotationReport('x.json')
    check_thing_order([{'name': name, 'isthing': 1} for name in names], metainfo, report)
    with pytest.raises(DataError, match='room for 999 classes, got 1000'):
        report.raise_errors()


def test_room_for_classes_is_that_of_mmdet() -> None:
    assert MAX_CLASSES == INSTANCE_OFFSET - 1
