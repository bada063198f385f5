"""The recorded data pipelines of the reference, case by case, through `pipeline_adapter.py`."""

import importlib.util
import sys
from pathlib import Path

import pytest

ADAPTER = Path(__file__).with_name('pipeline_adapter.py')


# The two images have crowds, objects of several parts and many segments.
@pytest.mark.parametrize(
    ('kind', 'cases', 'comparisons'),
    [
        ('instance', '/14439/', 555),
        ('panoptic', '/12120/', 762),
        ('semantic', '', 391),
        ('test', '', 126),
        ('colour', '', 36),
        pytest.param('instance', '', 5296, marks=pytest.mark.slow),
        pytest.param('panoptic', '', 4895, marks=pytest.mark.slow),
    ],
)
def test_recorded_pipelines(shared_golden, kind, cases, comparisons, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location('pipelines_check', shared_golden / 'pipelines' / 'check.py')
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    monkeypatch.setattr(sys, 'argv', ['check.py', '--adapter', str(ADAPTER), '--kinds', kind, '--only', cases])
    monkeypatch.setattr(sys, 'path', list(sys.path))
    status = check.main()
    report = capsys.readouterr().out
    assert report.splitlines()[-1] == f'{comparisons} comparisons, 0 failed' and status == 0, report
