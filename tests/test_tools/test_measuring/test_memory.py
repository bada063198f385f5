"""Peak memory of a model in a process of its own."""

import pytest
from measuring.memory import peak_memory
from measuring.models import Case

CONFIG = 'configs/maskdino/maskdino_r18_shapes_instance.py'


def test_the_process_finds_its_module_from_anywhere(project_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small, large = (
        peak_memory(str(project_root / CONFIG), {}, Case(training=True, size=(side, side)), 'cpu', 1)
        for side in (64, 256)
    )
    assert 100 < small.model < small.peak < large.peak < 20000
    assert large.peak - large.model > 2 * (small.peak - small.model)


def test_a_process_that_fails_tells_why():
    with pytest.raises(RuntimeError, match=r'memory of no_such_model failed:\n(.|\n)*no_such_model'):
        peak_memory('no_such_model', {}, Case(training=True, size=(64, 64)), 'cpu', 1)
