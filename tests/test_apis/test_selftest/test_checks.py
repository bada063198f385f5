"""The selftest on the CPU, and that it notices what is broken."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
import torch

from mmmaskdino.apis.selftest import checks
from mmmaskdino.apis.selftest.checks import CHECKS, Bench, Row, run_checks, usable_device, waits_reported_by_cuda
from mmmaskdino.models.detectors import MaskDINO

CPU = torch.device('cpu')
NAMES = [name for name, *_ in CHECKS]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    """Runs some of the checks on the CPU; gives their rows by name."""

    def _run(*names: str) -> dict[str, Row]:
        monkeypatch.setattr(checks, 'CHECKS', [check for check in CHECKS if check[0] in names])
        return {row.check: row for row in run_checks(CPU)}

    return _run


def test_all_checks_on_the_cpu(run, monkeypatch):
    monkeypatch.setattr(checks, 'CPU_SIZE', (64, 64))
    rows = run(*NAMES)
    assert list(rows) == NAMES
    not_run = {name for name, row in rows.items() if row.result == 'not run'}
    assert rows['results'].found == 'this is the CPU'
    # Older versions of torch have no float16 on the CPU.
    assert 'results' in not_run and not_run <= {'results', 'training, float16', 'training, bfloat16'}
    assert all(row.result == 'ok' for name, row in rows.items() if name not in not_run), rows
    assert rows['waits, training step'].found.startswith('2, ')
    assert rows['waits, two results'].found.startswith('4, ')
    assert 'GiB' in rows['R50, one image'].found


def test_a_wrong_operator(run, monkeypatch):
    right = checks.sample_attention
    monkeypatch.setattr(checks, 'sample_attention', lambda *args: 1.001 * right(*args))
    row = run('attention')['attention']
    assert row.result == 'FAILED' and 'result 1.0e-03' in row.found and row.expected.startswith('at most 0.0001')


@pytest.mark.parametrize(('index', 'name'), [(0, 'values'), (2, 'locations'), (3, 'weights')])
def test_a_wrong_gradient(run, monkeypatch, index, name):
    right = checks.sample_attention

    def wrong(*args):
        args = list(args)
        args[index].register_hook(lambda grad: torch.full_like(grad, float('nan')))
        return right(*args)

    monkeypatch.setattr(checks, 'sample_attention', wrong)
    row = run('attention')['attention']
    assert row.result == 'FAILED' and row.found == f'difference: gradient of {name} nan'


def test_an_operator_that_raises(run, monkeypatch):
    def broken(*args):
        raise RuntimeError('no kernel image\nmore lines')

    monkeypatch.setattr(checks, 'sample_attention', broken)
    rows = run('attention', 'training, float32')
    assert rows['attention'].found == 'RuntimeError: no kernel image' and rows['attention'].result == 'FAILED'
    assert rows['training, float32'].result == 'ok'  # the checks go on


def break_loss(monkeypatch: pytest.MonkeyPatch, change) -> None:
    """Changes the losses of boxes in half precision."""
    right = MaskDINO.loss

    def loss(self, *args):
        losses = right(self, *args)
        if (torch.ones(1, 1) @ torch.ones(1, 1)).dtype != torch.float32:
            losses['loss_bbox'] = change(losses['loss_bbox'])
        return losses

    monkeypatch.setattr(MaskDINO, 'loss', loss)


def test_a_loss_that_is_not_finite(run, monkeypatch):
    break_loss(monkeypatch, lambda loss: loss / 0)
    rows = run('training, float32', 'training, bfloat16')
    assert rows['training, float32'].result == 'ok'
    assert rows['training, bfloat16'].result == 'FAILED'
    assert rows['training, bfloat16'].found == 'losses not finite: 1 of 5, for example bbox'


def test_a_gradient_that_is_not_finite(run, monkeypatch):
    break_loss(monkeypatch, lambda loss: loss + (loss - loss.detach()).sqrt())
    found = run('training, bfloat16')['training, bfloat16'].found
    assert found.startswith('gradients not finite: ') and 'for example ' in found


def test_a_loss_far_from_that_in_float32(run, monkeypatch):
    break_loss(monkeypatch, lambda loss: 2 * loss)
    row = run('training, bfloat16')['training, bfloat16']
    assert row.result == 'FAILED' and 'bbox ' in row.found and row.expected == 'finite, within 10%'


def test_a_precision_that_the_device_does_not_have():
    with pytest.raises(checks.NotRunError, match='no int32 on this device'):
        Bench(CPU).step(torch.int32)


def test_another_wait(run, monkeypatch):
    right = MaskDINO.extract_feat

    def waiting(self, images):
        images.sum().item()
        return right(self, images)

    monkeypatch.setattr(MaskDINO, 'extract_feat', waiting)
    rows = run('waits, training step', 'waits, two results')
    assert rows['waits, training step'].result == rows['waits, two results'].result == 'FAILED'
    assert '_local_scalar_dense 1' in rows['waits, training step'].found


def test_waits_that_cuda_reports(monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, 'get_sync_debug_mode', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'set_sync_debug_mode', modes.append)

    def run():
        for _ in range(2):  # from the same line, which Python would show once
            warnings.warn('called a synchronizing CUDA operation (Triggered internally at ...)', stacklevel=1)
        warnings.warn('something else', stacklevel=1)

    (place,) = (found := waits_reported_by_cuda(run))
    assert found[place] == 2 and place.startswith('test_checks.py:')
    assert modes == ['warn', 1]


def test_memory_that_is_not_enough(run, monkeypatch):
    def full(self, *args):
        raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')

    monkeypatch.setattr(checks, 'RECIPE', 'maskdino_r18_shapes_instance')
    monkeypatch.setattr(MaskDINO, 'loss', full)
    row = run('R50, one image')['R50, one image']
    assert row.result == 'not run' and 'does not fit: CUDA out of memory' in row.found


@pytest.mark.parametrize(
    ('change', 'found'),
    [
        (lambda scores: scores, None),
        (lambda scores: scores + 0.01, r'scores differ by 1\.0e-02'),
        (lambda scores: scores * float('nan'), 'scores differ by nan'),
        (lambda scores: scores[1:], '198 instances, on the CPU 200'),
    ],
)
def test_results_beside_those_of_the_cpu(monkeypatch, change, found):
    right, calls = checks.predict, []

    def predict(*args):
        results = right(*args)
        calls.append(results)
        for sample in results if len(calls) == 2 else ():
            instances = sample.pred_instances
            sample.pred_instances = type(instances)(scores=change(instances.scores))
        return results

    monkeypatch.setattr(checks, 'predict', predict)
    if found is None:
        assert checks.compare_scores(Bench(CPU)) == 'scores differ by 0.0e+00'
        return
    with pytest.raises(checks.CheckError, match=found):
        checks.compare_scores(Bench(CPU))


def test_a_gpu_is_described(monkeypatch):
    properties = SimpleNamespace(name='NVIDIA X', total_memory=24 * 2**30, major=8, minor=6)
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda device: properties)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda device: 123)
    device = torch.device('cuda:0')
    text = f'NVIDIA X, 24.0 GiB, compute capability 8.6, CUDA {torch.version.cuda}'
    assert checks.describe_device(device) == text
    assert checks._peak_memory(device) == 123 and checks._peak_memory(CPU) > 2**20


def test_devices_that_are_not_there():
    assert usable_device('cpu') == CPU
    for name in ('cuda:99', 'abacus', 'meta'):
        with pytest.raises(ValueError, match=f'--device {name} cannot be used: '):
            usable_device(name)
