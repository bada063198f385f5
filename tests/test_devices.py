"""Names of devices."""

from __future__ import annotations

import pytest
import torch

from mmmaskdino.devices import check_name, choose_device, find_devices, nth_device


def test_a_machine_without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: False)
    assert choose_device() == choose_device('cpu') == choose_device('CPU') == 'cpu'
    assert find_devices() == ['cpu']
    for device in ('xpu', 'mps'):
        with pytest.raises(ValueError, match=f'--device {device}: not on this machine, which has cpu$'):
            choose_device(device)


@pytest.mark.parametrize(
    ('device', 'expected'), [(None, 'cuda:0'), ('cuda', 'cuda:0'), (1, 'cuda:1'), ('1', 'cuda:1'), ('cuda:1', 'cuda:1')]
)
def test_a_machine_with_gpus(monkeypatch: pytest.MonkeyPatch, device: str | int | None, expected: str) -> None:
    """Two of them."""

    def zeros(size: int, device: str) -> None:
        if device == 'cuda:2':
            raise RuntimeError('CUDA error: invalid device ordinal\nfor debugging consider')

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(torch, 'zeros', zeros)
    assert choose_device(device) == expected
    with pytest.raises(
        ValueError, match=r'--device 2: .* has cpu, cuda:0, cuda:1 \(CUDA error: invalid device ordinal\)'
    ):
        choose_device(2)


@pytest.mark.parametrize('device', ['gpu', 'cuda:', 'cuda0', '-1', '', 'cpu,cuda'])
def test_what_is_no_device(device: str) -> None:
    with pytest.raises(ValueError, match='expected cpu, cuda, the number of a GPU, cuda:1 or mps'):
        check_name(device)


def test_processes_take_the_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert nth_device(1) == 'cpu'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert [nth_device(number) for number in range(3)] == ['cuda:0', 'cuda:1', 'cuda:0']
