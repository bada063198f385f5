"""The method and what makes it fast stay apart."""

import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / 'mmmaskdino'
OF_DEVICES = r'is_cuda|device\.type|ThreadPool|lru_cache|multiprocessing'


def test_the_models_leave_devices_threads_and_caches_to_ops():
    found = [path.name for path in (PACKAGE / 'models').rglob('*.py') if re.search(OF_DEVICES, path.read_text())]
    assert not found
    assert any(re.search(OF_DEVICES, path.read_text()) for path in (PACKAGE / 'ops').glob('*.py'))


def test_ops_know_the_models_types_at_most():
    for path in (PACKAGE / 'ops').glob('*.py'):
        assert not re.search(r'(?m)^(from|import) mmmaskdino\.models', path.read_text()), path.name


def test_a_file_says_what_each_device_does():
    for name in ('deform_attn', 'device', 'mask_losses_host', 'points', 'smallest'):
        docstring = (PACKAGE / 'ops' / f'{name}.py').read_text().split('"""')[1]
        assert re.search(r'(?m)^=+  =+', docstring) and 'CPU' in docstring and 'every other device' in docstring, name
