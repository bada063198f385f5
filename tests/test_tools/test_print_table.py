import json

import pytest

TOOL = 'analysis_tools/print_table.py'


def test_published_numbers(run_tool, capsys):
    assert run_tool(TOOL, 8) == 0
    out = capsys.readouterr().out
    assert out.startswith('Table 8: ') and 'measured' not in out and 'Table 9' not in out
    assert '| maskdino_r50_coco_instance_predicted-boxes_0-layers-at-test | 39.6 |  |' in out
    assert '| maskdino_r50_coco_instance_predicted-boxes | 46.0 |  |' in out


def test_all_tables_print(run_tool, capsys):
    assert run_tool(TOOL) == 0
    out = capsys.readouterr().out
    assert [line.split(':')[0] for line in out.splitlines() if line.startswith('Table')] == [
        f'Table {number}' for number in range(3, 17)
    ]
    widths = {}
    for line in out.splitlines():
        if line.startswith('| config'):
            columns = line.count('|')
        elif line.startswith('|'):
            widths[line] = line.count('|') == columns
    assert widths and all(widths.values())


def test_measured_numbers_are_the_last_of_the_logs(run_tool, tmp_path, capsys):
    """In the forms in which mmengine logs a training and a test."""
    run = tmp_path / 'maskdino_r50_coco_panoptic' / '20300101_000000'
    (run / 'vis_data').mkdir(parents=True)
    validations = [{'coco_panoptic/PQ': pq, 'coco/bbox_mAP': 0.4 + pq / 1000, 'step': 1} for pq in (10.0, 20.0)]
    lines = [{'loss': 3.0, 'step': 0}, *validations]
    (run / 'vis_data' / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
    (run / 'predictions.json').write_text('{\n"annotations": []}')
    assert run_tool(TOOL, 4, '--work-dirs', tmp_path) == 0
    rows = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if line.startswith('| maskdino')}
    assert '| 53.0 | 48.8 | 44.3 | 60.6 | 20.0 | 42.0 |  |  |' in rows['maskdino_r50_coco_panoptic']
    assert rows['maskdino_r50_coco_panoptic_24e'].endswith('| 51.5 |  |  |  |  |  |  |  |  |')


@pytest.mark.parametrize(('args', 'message'), [(['99'], 'no table'), (['8', '--work-dirs', 'nowhere'], 'no folder')])
def test_wrong_arguments(run_tool, capsys, args, message):
    assert run_tool(TOOL, *args) == 2
    assert message in capsys.readouterr().err
