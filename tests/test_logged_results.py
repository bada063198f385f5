import json
import os

import pytest

from mmmaskdino.logged_results import in_percent, read_logged


@pytest.mark.parametrize(
    ('entry', 'expected'),
    [
        ({'coco/bbox_mAP': 0.5, 'coco/segm_mAP': 0.25, 'step': 3}, {'box AP': 50, 'mask AP': 25}),
        ({'coco_panoptic/PQ': 52.5, 'semantic/mIoU': 40.0}, {'PQ': 52.5, 'mIoU': 40}),
        ({'mIoU': 41.0}, {'mIoU': 41}),
        ({'loss': 1.0, 'coco/bbox_mAP_50': 0.5}, {}),
    ],
)
def test_metrics_by_their_usual_names(entry, expected):
    assert in_percent(entry) == expected


def test_entries_of_all_runs_of_a_work_dir(tmp_path):
    logs = {'2/vis_data/scalars.json': [{'step': 2}, {'step': 3}], '1/vis_data/scalars.json': [{'step': 1}]}
    for name, entries in logs.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text('\n'.join(map(json.dumps, entries)))
        os.utime(path, (0, entries[0]['step']))
    (tmp_path / 'predictions.json').write_text('[\n{"segments": 1}')
    (tmp_path / 'results.json').write_bytes(b'\xff\n')
    with open(tmp_path / '2/vis_data/scalars.json', 'a') as file:
        file.write('\n{"step": 4, "lo')  # of a run that was killed
    assert [entry['step'] for entry in read_logged(tmp_path)] == [1, 2, 3]
