import json

import pytest

TOOL = 'analysis_tools/panoptic_quality.py'


@pytest.fixture
def files(shared_data):
    annotations = shared_data / 'coco_tiny/annotations'
    reference = shared_data / 'pq_reference'
    return [
        annotations / 'panoptic_val2017.json',
        annotations / 'panoptic_val2017',
        reference / 'pred.json',
        reference / 'pred_png',
    ]


def test_public_numbers(run_tool, files, shared_data, tmp_path, capsys):
    expected = json.loads((shared_data / 'pq_reference/expected.json').read_text())
    out = tmp_path / 'pq.json'
    assert run_tool(TOOL, *files, '--out', out) == 0
    result = json.loads(out.read_text())
    assert result.keys() == expected.keys()
    for group in ('All', 'Things', 'Stuff'):
        assert result[group] == pytest.approx(expected[group], abs=1e-9)
    assert result['per_class'].keys() == expected['per_class'].keys()
    for category_id, values in expected['per_class'].items():
        assert result['per_class'][category_id] == pytest.approx(values, abs=1e-9)
    printed = capsys.readouterr().out
    assert ['all', '45.33', '58.86', '57.09', '110', 'classes'] in [line.split() for line in printed.splitlines()]


def edited(path, tmp_path, edit):
    """A copy of a json after `edit` changed its content in place."""
    content = json.loads(path.read_text())
    edit(content)
    copy = tmp_path / 'edited.json'
    copy.write_text(json.dumps(content))
    return copy


def drop_image(content):
    del content['annotations'][0]


def drop_segment(content):
    del content['annotations'][0]['segments_info'][0]


def add_segment(content):
    content['annotations'][0]['segments_info'].append(dict(id=4321, category_id=1))


def change_category(content):
    content['annotations'][0]['segments_info'][0]['category_id'] = 12


@pytest.mark.parametrize(
    ('edit', 'fragments'),
    [
        (drop_image, ['edited.json', 'no annotation for the image with id 10977']),
        (drop_segment, ['000000010977.png', 'only in the PNG: 1']),
        (add_segment, ['000000010977.png', 'only in the json: 4321']),
        (change_category, ['edited.json', 'image 10977, segment 1', 'category 12']),
    ],
)
def test_bad_predictions_are_named(run_tool, files, tmp_path, edit, fragments):
    files[2] = edited(files[2], tmp_path, edit)
    message = run_tool(TOOL, *files)
    assert all(fragment in message for fragment in fragments), message


def test_surplus_predictions_are_mentioned(run_tool, files, tmp_path, capsys):
    files[0] = edited(files[0], tmp_path, lambda content: content['annotations'].__delitem__(slice(2, None)))
    assert run_tool(TOOL, *files) == 0
    assert '28 images are not in the ground truth' in capsys.readouterr().out


def test_missing_file(run_tool, files):
    assert 'nowhere.json' in run_tool(TOOL, 'nowhere.json', *files[1:])


def test_class_without_segments_is_no_number(run_tool, files, tmp_path):
    def keep_things(content):
        content['categories'] = [dict(category, isthing=1) for category in content['categories']]

    files[0] = edited(files[0], tmp_path, keep_things)
    assert run_tool(TOOL, *files, '--out', tmp_path / 'pq.json') == 0
    assert json.loads((tmp_path / 'pq.json').read_text())['Stuff'] == dict(pq=None, sq=None, rq=None, n=0)
