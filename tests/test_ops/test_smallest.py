import pytest
import torch

from mmmaskdino.ops import smallest as module
from mmmaskdino.ops.smallest import smallest


@pytest.mark.parametrize('num', [0, 1, 13, 40])
def test_all_devices_find_the_same(num, monkeypatch):
    values = torch.randn(9, 40)
    on_host = smallest(values, num)
    monkeypatch.setattr(module, 'is_host', lambda tensor: False)
    elsewhere = smallest(values, num)
    assert on_host.dtype == elsewhere.dtype == torch.int64 and on_host.shape == (9, num)
    assert torch.equal(on_host.sort(1).values, elsewhere.sort(1).values)
