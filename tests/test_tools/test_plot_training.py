"""tools/analysis_tools/plot_training.py on a log."""

import json

import cv2

TOOL = 'analysis_tools/plot_training.py'


def test_picture(run_tool, tmp_path):
    log = tmp_path / 'scalars.json'
    log.write_text('\n'.join(json.dumps(dict(loss=9.0 / i, iter=i, step=i)) for i in range(1, 5)))
    assert run_tool(TOOL, tmp_path / 'curves.png', log) == 0
    picture = cv2.imread(str(tmp_path / 'curves.png'))
    assert picture.shape[1] > 300 and picture.std() > 0


def test_missing_log_is_a_message(run_tool, tmp_path):
    assert 'plot_training.py: ' in run_tool(TOOL, tmp_path / 'curves.png', tmp_path / 'nowhere')
