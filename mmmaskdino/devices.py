"""Where a model runs: names that people type, and devices that are there."""

from __future__ import annotations

import re

_NAME = re.compile(r'(?P<number>\d+)|(?P<kind>[a-z]+)(:\d+)?')
_KINDS = ('cpu', 'cuda', 'mlu', 'mps', 'musa', 'npu', 'xpu')


def check_name(device: str | int | None) -> None:
    """Reject what cannot be a device on any machine; without torch.

    Args:
        device: As of :func:`choose_device`.

    Raises:
        ValueError: With what is expected.
    """
    found = _NAME.fullmatch(str(device).lower())
    if device is not None and (found is None or not (found['number'] or found['kind'] in _KINDS)):
        raise ValueError(f'--device {device}: expected cpu, cuda, the number of a GPU, cuda:1 or mps, for example')


def choose_device(device: str | int | None = None) -> str:
    """The name of a device by which torch knows it.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, `mps` or whatever torch has, or the number of a GPU; None for the first GPU, or
            else the CPU.

    Returns:
        Such as `cuda:0`.

    Raises:
        ValueError: It is not on this machine; the message says what is.
    """
    import torch

    if device is None:
        return 'cuda:0' if torch.cuda.is_available() else 'cpu'
    check_name(device)
    name = str(device).lower()
    name = f'cuda:{name}' if name.isdigit() else 'cuda:0' if name == 'cuda' else name
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch without CUDA raises an AssertionError
        reason = re.split(r'[.\n]', str(error))[0]
        why = f' ({reason})' * name.startswith('cuda')
        raise ValueError(
            f'--device {device}: not on this machine, which has {", ".join(find_devices())}{why}'
        ) from error
    return name


def find_devices() -> list[str]:
    """Names of the devices of this machine."""
    import torch

    names = ['cpu', *(f'cuda:{index}' for index in range(torch.cuda.device_count()))]
    return names + ['mps'] * torch.backends.mps.is_available()


def nth_device(number: int) -> str:
    """The device of one of several processes on this machine: GPUs in turn, or the CPU where there is none."""
    import torch

    return f'cuda:{number % torch.cuda.device_count()}' if torch.cuda.is_available() else 'cpu'
