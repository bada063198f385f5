import json

import pytest

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.instance_checks import LEFT_OUT, InstanceChecker

SQUARE = [2, 3, 12, 3, 12, 11, 2, 11]  # of the first annotation: 10 x 8 pixels
RLE = {'size': [20, 30], 'counts': [43, 8] + [12, 8] * 9 + [369]}  # the same pixels


def check(
    content: dict, drop: bool = False, leaves_out: bool = False, **changes
) -> tuple[AnnotationReport, list[dict]]:
    report = AnnotationReport('x.json', leaves_out)
    arguments = {
        'images': {image['id']: image for image in content['images']},
        'category_names': {3: 'cat', 5: 'cup'},
        'cat_ids': [5, 3],
        'with_mask': True,
        'report': report,
    }
    sound = InstanceChecker(**{**arguments, **changes}).check(content['annotations'], drop_unlisted_categories=drop)
    return report, sound


def error_of(report: AnnotationReport) -> str:
    with pytest.raises(DataError) as caught:
        report.raise_errors()
    return str(caught.value)


@pytest.fixture
def change(instance_content):
    """Changes the first annotation, checks and gives the report, the annotation as read and the warnings."""

    def run(changes: dict, **arguments):
        instance_content['annotations'][0].update(changes)
        other = dict(instance_content['annotations'][1], id=3, iscrowd=0, category_id=5)  # one remains
        instance_content['annotations'] = [*instance_content['annotations'][:2], other]
        before = json.dumps(instance_content)
        report, sound = check(instance_content, **arguments)
        assert json.dumps(instance_content) == before, 'the content of the file is shared'
        return report, sound[0] if sound and sound[0]['id'] == 1 else None, report.remarks

    return run


def test_sound_annotations_stay_as_they_are(instance_content, logged):
    report, sound = check(instance_content)
    report.raise_errors()
    report.log_warnings()
    assert logged == []
    assert sound == instance_content['annotations']
    assert all(
        new['segmentation'] is old['segmentation']
        for new, old in zip(sound, instance_content['annotations'], strict=True)
    )


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'image_id': 4242}, 'no image has this id.*got 4242'),
        ({'image_id': '4242'}, 'no image has this id.*got "4242"'),
        ({'category_id': 77}, 'category id is not among the 2.*got 77'),
        ({'category_id': None}, 'category id is not among the 2.*got null'),
        ({'bbox': [1, 2, 3]}, r'bbox must be \[x, y, width, height\].*got \[1, 2, 3\]'),
        ({'bbox': [1, 2, 3, 'x']}, r'bbox must be.*got \[1, 2, 3, "x"\]'),
        ({'bbox': [1, 2, True, 4]}, r'bbox must be.*got \[1, 2, true, 4\]'),
        ({'bbox': [1, 2, float('nan'), 4]}, r'bbox must be.*got \[1, 2, NaN, 4\]'),
        ({'bbox': [[1, 2], [3, 4]]}, r'bbox must be.*got \[\[1, 2\], \[3, 4\]\]'),
        ({'bbox': {'x': 1}}, r'bbox must be.*got {"x": 1}'),
        ({'bbox': '[2, 3, 10, 8]'}, r'bbox must be.*got "\[2, 3, 10, 8\]"'),
        ({'bbox': [9, 9, -4, 5]}, r'below 0.*\[9, 9, -4, 5\]'),
        ({'iscrowd': 2}, 'iscrowd must be 0 or 1, got 2'),
        ({'iscrowd': 'maybe'}, 'iscrowd must be 0 or 1, got "maybe"'),
        ({'ignore': [0]}, r'ignore must be 0 or 1, got \[0\]'),
        ({'segmentation': None}, 'missing or empty.*on_fault.*--boxes-only.*got null'),
        ({'segmentation': []}, r'missing or empty.*got \[\]'),
        ({'segmentation': [[SQUARE]]}, r'one list of numbers, \[\[x1, y1, x2, y2, ...\], ...\].*got \[\[\[2, 3, 12'),
    ],
)
def test_faulty_annotations_are_named(change, changes, message):
    report, read, _ = change(changes)
    assert report.num_errors == 1 and read is None
    with pytest.raises(DataError, match=message) as caught:
        report.raise_errors()
    image_id = json.dumps(changes.get('image_id', 7))
    assert f'annotation 1 (image {image_id}' in str(caught.value)
    assert '(1 of 3 annotations)' in str(caught.value)


def test_a_fault_of_all_is_said_once(instance_content):
    sample = dict(instance_content['annotations'][0], segmentation=[])
    instance_content['annotations'] = [dict(sample, id=number) for number in range(1, 601)]
    report, _ = check(instance_content)
    assert report.num_errors == 600 and len(report.lines()) == 1
    message = error_of(report)
    assert 'x.json: 600 problem(s)' in message
    assert '600 of 600 annotations: masks are needed' in message
    assert 'annotation 5 (image 7, a.jpg): got []; also 6 to 600' in message


def test_annotation_ids_are_unique(instance_content):
    instance_content['annotations'][0]['id'] = 2
    assert 'annotation id 2: ids of annotations must be unique, is given 2 times' in error_of(
        check(instance_content)[0]
    )


@pytest.mark.parametrize('given', ['a7f3', None, 0, 4.0])
def test_any_id_will_do(change, given):
    report, _, remarks = change({'id': given})
    assert report.num_errors == 0 and not remarks


@pytest.mark.parametrize(
    ('missing', 'named'),
    [
        (['image_id'], ['image_id']),
        (['category_id'], ['category_id']),
        (['bbox', 'segmentation'], ['bbox', 'segmentation']),
        (['segmentation'], None),
    ],
)
def test_missing_keys(instance_content, missing, named):
    for key in missing:
        del instance_content['annotations'][1][key]
    report, _ = check(instance_content)
    assert report.num_errors == 1
    expected = f'the key(s) {named} are missing' if named else 'masks are needed'
    assert expected in error_of(report)


@pytest.mark.parametrize('value', [10**9 + 1, -1e200, 10**200])
@pytest.mark.parametrize('with_mask', [True, False])
def test_boxes_beyond_all_images(change, value, with_mask):
    """Python has no fractions of such integers."""
    report, _, _ = change({'bbox': [value, 3, abs(value), abs(value)]}, with_mask=with_mask)
    assert report.num_errors == 1
    assert 'bbox has a value above 1000000000; correct it, got [' in error_of(report)


@pytest.mark.parametrize('box', [None, [], [0, 0, 0, 0], 'missing'])
@pytest.mark.parametrize('segmentation', [[SQUARE], RLE])
def test_a_missing_box_is_that_of_the_mask(change, instance_content, box, segmentation):
    if box == 'missing':
        del instance_content['annotations'][0]['bbox']
    report, read, remarks = change({'segmentation': segmentation} | ({} if box == 'missing' else {'bbox': box}))
    assert report.num_errors == 0
    assert read['bbox'] == [2, 3, 10, 8]
    assert list(remarks) == ['annotations without a box, which is taken from the mask']


@pytest.mark.parametrize('area', [0, -1, None, 'x', float('nan'), True, 'missing'])
def test_a_missing_area_is_that_of_the_mask_or_else_of_the_box(change, instance_content, area):
    if area == 'missing':
        del instance_content['annotations'][0]['area']
    changes = {} if area == 'missing' else {'area': area}
    report, read, remarks = change({**changes, 'segmentation': [[2, 3, 12, 3, 12, 11]]})
    assert report.num_errors == 0
    assert 30 <= read['area'] <= 50, 'half of the box'
    assert [kind for kind in remarks if 'that of the mask is taken' in kind]
    report, sound = check(
        {**instance_content, 'annotations': [dict(instance_content['annotations'][0], segmentation=[])]},
        with_mask=False,
    )
    assert sound[0]['area'] == 80 and 'that of the box is taken' in next(iter(report.remarks))


@pytest.mark.parametrize(
    ('given', 'expected'),
    [(None, 0), (False, 0), (True, 1), ('0', 0), ('1', 1), ('false', 0), ('True', 1), (0.0, 0), (1, 1)],
)
@pytest.mark.parametrize('key', ['iscrowd', 'ignore'])
def test_flags(change, key, given, expected):
    """As a text, '0' is true in Python."""
    report, read, remarks = change({key: given})
    assert report.num_errors == 0
    assert read[key] == expected and type(read[key]) is int
    assert any('iscrowd' in kind for kind in remarks) == (key == 'iscrowd' and given is None)
    assert any("say 'ignore'" in kind for kind in remarks) == (key == 'ignore' and expected == 1)


def test_numbers_in_quotes_are_taken(change):
    report, read, remarks = change(
        {'bbox': [2, 3, '10', '8'], 'area': '80.5', 'segmentation': [[str(n) for n in SQUARE]]}
    )
    assert report.num_errors == 0
    assert (read['bbox'], read['area'], read['segmentation']) == ([2, 3, 10, 8], 80.5, [SQUARE])
    assert list(remarks) == ['annotations with numbers in quotes, taken as numbers']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'bbox': [40, 3, 5, 5]}, 'left out of training, but counted in evaluation as by pycocotools: box outside the'),
        ({'bbox': [2, -9, 5, 9]}, 'box outside the image'),
        ({'bbox': [2, 3, 0.5, 7]}, 'below one pixel'),
        ({'ignore': 1}, "say 'ignore'"),
        ({'segmentation': [SQUARE, [1, 2, 3, 4]]}, 'polygons below three points left out'),
        ({'segmentation': [[2, 3, 12, 3, 900, 11, 2, 11]]}, 'reach far outside the image'),
    ],
)
def test_odd_annotations_are_warned_of(change, logged, changes, message):
    report, _, _ = change(changes)
    report.raise_errors()
    report.log_warnings()
    assert len(logged) == 1
    assert message in logged[0]
    assert 'annotation 1 (image 7, a.jpg)' in logged[0]


@pytest.mark.parametrize(
    'segmentation',
    [
        [[2, 3, 7, 7, 12, 11]],
        [[2, 3] * 3],
        [[2, 3, 2.1, 3, 2.1, 3.1]],
        [[100, 50, 120, 50, 120, 70]],
        {'size': [20, 30], 'counts': [600]},
    ],
)
def test_masks_without_pixels(change, segmentation):
    """Lines, points, masks outside the image: with masks they are nothing to train on, with boxes alone they are."""
    report, read, remarks = change({'segmentation': segmentation})
    assert report.num_errors == 0 and read['area'] == 0
    assert f'{LEFT_OUT}: the mask has no pixel in the image' in remarks
    assert change({}, with_mask=False)[1]['area'] == 80


def test_small_masks_have_pixels(change):
    report, read, remarks = change({'segmentation': [[2, 3, 3, 3, 3, 4, 2, 4]], 'bbox': [2, 3, 1, 1]})
    assert not remarks and read['area'] == 80


def test_an_object_that_is_listed_twice(instance_content):
    first = instance_content['annotations'][0]
    instance_content['annotations'] += [dict(first, id=8), dict(first, id=9, category_id=3)]
    report, sound = check(instance_content)
    assert report.remarks == {
        'annotations with the image, category and box of another': ['annotation 8 (image 7, a.jpg)']
    }
    assert len(sound) == 4


def test_short_polygons_are_left_out(change):
    """pycocotools would take four numbers for a box."""
    assert change({'segmentation': [[1, 2, 3, 4], SQUARE]})[1]['segmentation'] == [SQUARE]


def test_something_must_be_left(instance_content):
    first, second = instance_content['annotations']
    first['iscrowd'] = 1
    message = error_of(check(instance_content)[0])
    assert 'all 2 objects are crowds' in message and 'set iscrowd to 0' in message and 'annotation 1 ' in message
    first.update(iscrowd=0, bbox=[40, 3, 5, 5])
    message = error_of(check(instance_content)[0])
    assert 'none of the 2 objects is left' in message
    assert '1 have a box outside the image, the first: annotation 1' in message and '1 are crowds' in message
    report, _ = check(instance_content, cat_ids=[5], drop=True)
    assert 'none of the 1 objects' in error_of(report)


BOXES = [[2, 3, 10, 8], [12, 9, 14, 6], [1, 12, 20, 7], [20, 1, 9, 15]]
CORNERS = [[x, y, x + w, y + h] for x, y, w, h in BOXES]
FORMS = {
    'corners [x1, y1, x2, y2]': CORNERS,
    'corners [y1, x1, y2, x2]': [[y1, x1, y2, x2] for x1, y1, x2, y2 in CORNERS],
    'centre and size': [[x + w / 2, y + h / 2, w, h] for x, y, w, h in BOXES],
    '[y, x, height, width]': [[y, x, h, w] for x, y, w, h in BOXES],
    'shares of the image': [[x / 30, y / 20, w / 30, h / 20] for x, y, w, h in BOXES],
    'per cent of the image': [[x / 0.3, y / 0.2, w / 0.3, h / 0.2] for x, y, w, h in BOXES],
}


def objects(instance_content: dict, boxes: list, scale=(1, 1), masks: bool = True) -> dict:
    sample = instance_content['annotations'][0]
    annotations = []
    for number, (box, (x1, y1, x2, y2)) in enumerate(zip(boxes, CORNERS, strict=True), 1):
        polygon = [value * scale[i % 2] for i, value in enumerate([x1, y1, x2, y1, x2, y2, x1, y2])]
        annotations.append(dict(sample, id=number, bbox=box, segmentation=[polygon] if masks else []))
    return {**instance_content, 'annotations': annotations}


@pytest.mark.parametrize('form', FORMS)
def test_boxes_in_another_form(instance_content, form):
    message = error_of(check(objects(instance_content, FORMS[form]))[0])
    assert '1 problem(s)' in message and f' of 4 boxes look like {form}; expected bbox [x, y, width, height]' in message
    assert '(image 7, a.jpg): [' in message


def test_boxes_in_the_right_form(instance_content):
    report, sound = check(objects(instance_content, BOXES))
    assert report.num_errors == 0 and not report.remarks and len(sound) == 4
    loose = [[x - 1.5, y - 1.5, w + 3, h + 3] for x, y, w, h in BOXES]
    assert not check(objects(instance_content, loose))[0].remarks


def test_some_boxes_that_are_not_those_of_their_masks(instance_content):
    odd = [BOXES[0], BOXES[1], BOXES[2], [1, 1, 4, 4]]
    report, _ = check(objects(instance_content, odd))
    assert report.num_errors == 0
    ((kind, places),) = report.remarks.items()
    assert kind == 'boxes disagree with their masks, of 4'
    assert places == ['annotation 4 (image 7, a.jpg): [1, 1, 4, 4], its mask has [20, 1, 9, 15]']


def test_masks_and_boxes_in_shares(instance_content):
    shares = (1 / 30, 1 / 20)
    message = error_of(check(objects(instance_content, FORMS['shares of the image'], shares))[0])
    assert '4 of 4 boxes look like shares of the image' in message
    message = error_of(check(objects(instance_content, BOXES, shares))[0])
    assert '4 of 4 masks look like shares of the image' in message


def test_boxes_without_masks(instance_content):
    def run(boxes):
        return check(objects(instance_content, boxes, masks=False), with_mask=False)[0]

    assert run(BOXES).num_errors == 0
    assert '4 boxes look like corners [x1, y1, x2, y2]: taken as sizes, they end outside' in error_of(run(CORNERS))
    assert '4 of 4 boxes look like shares of the image' in error_of(run(FORMS['shares of the image']))


def test_segmentations_matter_only_if_masks_are_loaded(instance_content):
    for segmentation in ([], [[1, 2]], {'size': [1, 1]}, 'none'):
        instance_content['annotations'][0]['segmentation'] = segmentation
        report, sound = check(instance_content, with_mask=False)
        report.raise_errors()
        assert not report.remarks
        assert 'segmentation' not in sound[0] and 'segmentation' in sound[1]


def test_unlisted_categories_are_named_or_left_out_on_request(instance_content, logged):
    report, _ = check(instance_content, cat_ids=[3])
    with pytest.raises(DataError, match=r"'cup' \(id 5\) has 1 annotation.*annotation 1 .*drop_unlisted_categories"):
        report.raise_errors()
    instance_content['annotations'][1]['iscrowd'] = 0
    instance_content['annotations'][0]['segmentation'] = 'faulty, but of no class'
    report, sound = check(instance_content, drop=True, cat_ids=[3])
    report.raise_errors()
    report.log_warnings()
    assert "'cup' (id 5), 1 annotations" in logged[0]
    assert [annotation['id'] for annotation in sound] == [2]


def test_faulty_images_give_no_further_errors(instance_content):
    assert check(instance_content, images={7: None, 9: None})[0].num_errors == 0


def test_images_of_faulty_annotations_are_left_out(instance_content):
    first, second = instance_content['annotations']
    first['segmentation'], second['image_id'] = [], 9
    report, sound = check(instance_content, leaves_out=True)
    report.raise_errors()
    (problem,) = report.left_out[7]
    assert problem.startswith('annotation 1 (image 7, a.jpg): masks are needed') and list(report.left_out) == [7]
    assert [annotation['id'] for annotation in sound] == [2]


def test_no_annotations_at_all(instance_content, logged):
    instance_content['annotations'] = []
    report, _ = check(instance_content)
    report.raise_errors()
    report.log_warnings()
    assert 'no annotation at all' in logged[0]
