"""The recorded numbers of the reference, case by case, through `adapter.py`."""

import importlib.util
import sys
from pathlib import Path

import pytest

ADAPTER = Path(__file__).with_name('adapter.py')
# The cases that belong to released models (`check.py` leaves out the same others).
CASES = [
    *(f'decoder_{name}' for name in (
        'two_stage_no', 'two_stage_mask2box', 'two_stage_bitmask', 'semantic', '5lvl_swin', '3lvl_high2low',
        'wide_invalid_proposals', 'h256_unpatched',
    )),
    *(f'train_{name}' for name in (
        'instance', 'instance_empty_image', 'instance_all_empty', 'instance_dn_off', 'instance_dn_standard',
        'instance_dn_no', 'instance_5lvl', 'panoptic_as_official_yaml', 'panoptic_full', 'semantic', 'semantic_dn_off',
    )),
    *(f'postprocess_{name}' for name in ('instance', 'panoptic', 'semantic')),
]  # fmt: skip


@pytest.fixture(scope='module')
def check(shared_golden):
    """The script beside the records, as a module."""
    spec = importlib.util.spec_from_file_location('golden_check', shared_golden / 'check.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('case', CASES)
def test_recorded_case(check, case, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['check.py', '--adapter', str(ADAPTER), '--verbose', case])
    monkeypatch.setattr(sys, 'path', list(sys.path))
    status = check.main()
    report = capsys.readouterr().out
    failed = [line for line in report.splitlines() if line.startswith('FAIL')]
    assert not failed and report.splitlines()[-1].startswith('1 cases, ') and status == 0


def test_no_case_is_forgotten(check, shared_golden):
    assert check.Cases(shared_golden).names([]) == sorted(CASES)
