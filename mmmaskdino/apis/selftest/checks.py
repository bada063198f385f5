"""Checks of one device: its operators, its number formats, its waits, its memory and speed."""

from __future__ import annotations

import copy
import logging
import platform
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmmaskdino.engine import FusedAdamW
from mmmaskdino.hub.table import shipped_configs
from mmmaskdino.ops.deform_attn import sample_attention, sample_grid
from mmmaskdino.plain_text import first_line

from .counters import OperationCounter
from .samples import make_batch

# Instances and segments, so that all of the model runs; narrow, so that it runs at once.
SMALL_CONFIG = 'maskdino_r50_coco_panoptic'
SMALL = {
    'backbone.depth': 18,
    'backbone.base_channels': 16,
    'panoptic_head.in_channels': [16, 32, 64, 128],
    'panoptic_head.dim': 64,
    'panoptic_head.mask_dims': 64,
    'panoptic_head.pixel_decoder.num_layers': 2,
    'panoptic_head.pixel_decoder.ffn_dim': 128,
    'panoptic_head.query_init.num_queries': 50,
    'panoptic_head.decoder.num_layers': 3,
    'panoptic_head.decoder.ffn_dim': 128,
    'panoptic_head.criterion.num_points': 1024,
}
SMALL_SIZE = (128, 160)
RECIPE = 'maskdino_r50_coco_instance'
# One image each: that of the estimate in docs/performance.md on a GPU; what a CPU manages in seconds.
GPU_SIZE, CPU_SIZE = (1024, 1024), (256, 256)
NUM_OBJECTS = 5

ATTENTION_TOLERANCE = 1e-4
# Between rounding, about 1e-6, and an attention that is wrong by 1%, 3e-4.
SCORE_TOLERANCE = 1e-4
# In half precision a query may match another object: five batches differed by up to 4% in the losses of boxes.
LOSS_TOLERANCE = 0.1
# Which stuff classes the batch shows, and the costs of the matching. Of a result: its instances and its segments.
STEP_WAITS, RESULT_WAITS = 2, 2
_SYNC_MESSAGE = 'synchronizing CUDA operation'


class Row(NamedTuple):
    """A line of the table."""

    check: str
    result: str
    """``ok``, ``FAILED`` or ``not run``."""
    found: str
    expected: str


class CheckError(Exception):
    """Says what came in the place of what was expected."""


class NotRunError(Exception):
    """Says why a check cannot run on this device."""


def usable_device(name: str | None = None) -> torch.device:
    """The device of a name, after it has made a tensor.

    Args:
        name: Such as ``cuda:1`` or ``mps``; None for the best that mmengine finds.

    Raises:
        ValueError: There is no such device.
    """
    name = name or get_device()
    try:
        device = torch.device(name)
        torch.ones(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f'--device {name} cannot be used: {first_line(error)}') from error
    return device


def describe_device(device: torch.device) -> str:
    """Name and memory as far as torch or the system says them."""
    if device.type == 'cpu':
        threads = f'{torch.get_num_threads()} threads'
        return ', '.join(filter(None, [_cpu_name(), torch.backends.cpu.get_cpu_capability(), threads]))
    backend = getattr(torch, device.type, None)
    if not hasattr(backend, 'get_device_properties'):
        return platform.machine()
    properties = backend.get_device_properties(device)
    parts = [getattr(properties, 'name', '?'), f'{properties.total_memory / 2**30:.1f} GiB']
    if device.type == 'cuda':
        parts += [f'compute capability {properties.major}.{properties.minor}', f'CUDA {torch.version.cuda}']
    return ', '.join(parts)


def run_checks(device: torch.device) -> Iterator[Row]:
    """Run all checks; each goes on whatever became of those before.

    Args:
        device: As of :func:`usable_device`.

    Yields:
        A row as soon as a check is done.
    """
    bench = Bench(device)
    for name, expected, check in CHECKS:
        try:
            row = Row(name, 'ok', check(bench), expected)
        except NotRunError as reason:
            row = Row(name, 'not run', str(reason), expected)
        except CheckError as fault:
            row = Row(name, 'FAILED', str(fault), expected)
        except Exception as error:  # whatever a device's operators raise is what the table is for
            row = Row(name, 'FAILED', f'{type(error).__name__}: {first_line(error)}', expected)
        yield row


class Bench:
    """The small model and its batch, and what several checks need of them.

    Args:
        device: Where the checks run.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @cached_property
    def model(self) -> nn.Module:
        """On the CPU, with all parameters off their special starting values, behind which faults would hide."""
        model = build_model(SMALL_CONFIG, SMALL)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        return model

    def batch(self, device: torch.device | str) -> tuple[Tensor, list[DetDataSample]]:
        """Two images and their ground truth, new each time: results are written into it."""
        torch.manual_seed(0)
        return make_batch(2, SMALL_SIZE, NUM_OBJECTS, 80, 53, device=device)

    @cached_property
    def float32_losses(self) -> dict[str, float]:
        """Of a training step in float32 on the device."""
        return self.step(None)

    def step(self, dtype: torch.dtype | None) -> dict[str, float]:
        """A training step on the device.

        Args:
            dtype: Of mixed precision; None for float32.

        Returns:
            The losses by kind.

        Raises:
            CheckError: Losses, gradients or the weights afterwards are not finite.
            NotRunError: The device has no mixed precision of this type.
        """
        if dtype is not None:
            _check_autocast(self.device, dtype)
        model = copy.deepcopy(self.model).to(self.device)
        optimizer = FusedAdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
        with nullcontext() if dtype is None else torch.autocast(self.device.type, dtype=dtype):
            losses = losses_by_kind(model, *self.batch(self.device))
        _check_finite('losses', losses)
        sum(losses.values()).backward()
        _check_finite('gradients', {name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        optimizer.step()
        _check_finite('weights after the step', dict(model.named_parameters()))
        return {kind: loss.item() for kind, loss in losses.items()}


def build_model(config: str, changes: Mapping[str, Any]) -> nn.Module:
    """A shipped config with random weights, on the CPU; nothing is downloaded."""
    cfg = Config.fromfile(shipped_configs()[config])
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    cfg.model.backbone.init_cfg = None
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    logging.disable(logging.INFO)  # the list of all parameters
    model.init_weights()
    logging.disable(logging.NOTSET)
    return model


def losses_by_kind(model: nn.Module, images: Tensor, samples: list[DetDataSample]) -> dict[str, Tensor]:
    """The losses of a batch, those of all stages added up, always with the same random numbers."""
    torch.manual_seed(1)
    losses = model.train().loss(images, samples)
    kinds = {name.rpartition('loss_')[2] for name in losses if 'loss_' in name}
    return {kind: sum(loss for name, loss in losses.items() if name.endswith(f'loss_{kind}')) for kind in sorted(kinds)}


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, samples: list[DetDataSample]) -> list[DetDataSample]:
    """The results of a batch, written into its samples."""
    return model.eval().predict(images, samples)


# ------------------------------------------------------------------------------------------------ the checks


def check_attention(bench: Bench) -> str:
    """The device's operator against the plain one in float64 on the CPU: results and gradients."""
    torch.manual_seed(0)
    shapes = ((12, 16), (6, 8), (3, 4))
    tokens = sum(h * w for h, w in shapes)
    value = torch.randn(2, tokens, 4, 16)
    locations = 1.2 * torch.rand(2, 70, 4, len(shapes), 4, 2) - 0.1  # some outside the maps
    weights = torch.rand(2, 70, 4, len(shapes), 4)
    direction = torch.randn(2, 70, 64)

    def run(operator: Callable, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
        inputs = [x.to(device, dtype).requires_grad_() for x in (value, locations, weights)]
        output = operator(inputs[0], shapes, *inputs[1:])
        output.backward(direction.to(device, dtype))
        return [x.detach().cpu().double() for x in (output, *(x.grad for x in inputs))]

    expected = run(sample_grid, torch.float64, torch.device('cpu'))
    found = run(sample_attention, torch.float32, bench.device)
    names = ('result', 'gradient of values', 'gradient of locations', 'gradient of weights')
    differences = {
        name: ((got - want).abs().max() / want.abs().max()).item()
        for name, got, want in zip(names, found, expected, strict=True)
    }
    # Written so that NaN counts.
    wrong = [f'{name} {value:.1e}' for name, value in differences.items() if not value <= ATTENTION_TOLERANCE]
    if wrong:
        raise CheckError('difference: ' + ', '.join(wrong))
    return f'difference {max(differences.values()):.1e}'


def check_results(bench: Bench) -> str:
    """Scores of all instances against those of the CPU, in float32."""
    if bench.device.type == 'cpu':
        raise NotRunError('this is the CPU')
    return compare_scores(bench)


def compare_scores(bench: Bench) -> str:
    """The same on any device.

    Raises:
        CheckError: Their number differs, or their values do.
    """
    scores = []
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for device in ('cpu', bench.device):
            results = predict(copy.deepcopy(bench.model).to(device), *bench.batch(device))
            scores.append(torch.cat([sample.pred_instances.scores.cpu().sort().values for sample in results]))
    if len(scores[0]) != len(scores[1]):
        raise CheckError(f'{len(scores[1])} instances, on the CPU {len(scores[0])}')
    difference = (scores[0] - scores[1]).abs().max().item()
    if not difference <= SCORE_TOLERANCE:
        raise CheckError(f'scores differ by {difference:.1e}')
    return f'scores differ by {difference:.1e}'


def check_float32(bench: Bench) -> str:
    """A training step."""
    return f'loss {sum(bench.float32_losses.values()):.4g}'


def check_half(bench: Bench, dtype: torch.dtype) -> str:
    """A training step in mixed precision beside one in float32."""
    losses, wanted = bench.step(dtype), bench.float32_losses
    differences = {kind: abs(loss / wanted[kind] - 1) for kind, loss in losses.items()}
    kind = max(differences, key=differences.get)
    found = f'loss {sum(losses.values()):.4g}, {kind} {differences[kind]:.1%} from float32'
    if differences[kind] > LOSS_TOLERANCE:
        raise CheckError(found)
    return found


def check_step_waits(bench: Bench) -> str:
    """Of forward pass, losses and backward pass."""
    return _judge_waits(bench, lambda model, batch: sum(losses_by_kind(model, *batch).values()).backward(), STEP_WAITS)


def check_result_waits(bench: Bench) -> str:
    """Of two images."""

    return _judge_waits(bench, lambda model, batch: predict(model, *batch), 2 * RESULT_WAITS)


def measure_recipe(bench: Bench) -> str:
    """Seconds and memory of the R50 instance recipe."""
    size = CPU_SIZE if bench.device.type == 'cpu' else GPU_SIZE
    model = build_model(RECIPE, {}).to(bench.device)
    reset = getattr(getattr(torch, bench.device.type, None), 'reset_peak_memory_stats', None)
    if reset is not None:
        reset(bench.device)

    torch.manual_seed(0)
    images, samples = make_batch(1, size, NUM_OBJECTS, device=bench.device)

    def train() -> None:
        sum(losses_by_kind(model, images, samples).values()).backward()
        model.zero_grad()

    try:
        step = _seconds(train, bench.device)
        result = _seconds(lambda: predict(model, images, copy.deepcopy(samples)), bench.device)
    except torch.cuda.OutOfMemoryError as error:
        raise NotRunError(f'{size[0]} x {size[1]} does not fit: {first_line(error)}') from error
    memory = _peak_memory(bench.device)
    of_memory = f'peak memory {memory / 2**30:.2f} GiB' if memory else 'peak memory is not known'
    return f'{size[0]} x {size[1]}: training step {step:.2f} s, result {result:.2f} s, {of_memory}'


CHECKS: list[tuple[str, str, Callable[[Bench], str]]] = [
    ('attention', f'at most {ATTENTION_TOLERANCE:g}, result and gradients', check_attention),
    ('results', f'those of the CPU to {SCORE_TOLERANCE:g}', check_results),
    ('training, float32', 'finite', check_float32),
    ('training, float16', f'finite, within {LOSS_TOLERANCE:.0%}', lambda bench: check_half(bench, torch.float16)),
    ('training, bfloat16', f'finite, within {LOSS_TOLERANCE:.0%}', lambda bench: check_half(bench, torch.bfloat16)),
    ('waits, training step', f'at most {STEP_WAITS}', check_step_waits),
    ('waits, two results', f'at most {2 * RESULT_WAITS}', check_result_waits),
    ('R50, one image', '', measure_recipe),
]


# ------------------------------------------------------------------------------------------------ what they use


def _check_finite(what: str, tensors: Mapping[str, Tensor]) -> None:
    wrong = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if wrong:
        raise CheckError(f'{what} not finite: {len(wrong)} of {len(tensors)}, for example {wrong[0]}')


def _check_autocast(device: torch.device, dtype: torch.dtype) -> None:
    """Raise NotRunError unless matrix products come out in this type: where it is missing, torch warns or raises."""
    name = str(dtype).removeprefix('torch.')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            with torch.autocast(device.type, dtype=dtype):
                product = torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)
    except RuntimeError as error:
        raise NotRunError(f'no {name} on this device: {first_line(error)}') from error
    if product.dtype != dtype:
        raise NotRunError(f'no {name} on this device with torch {torch.__version__}')


def _judge_waits(bench: Bench, run: Callable[[nn.Module, tuple], Any], most: int) -> str:
    found, how = _count_waits(bench, run)
    total = sum(found.values())
    if total > most:
        places = ', '.join(f'{name} {count}' for name, count in found.items())
        raise CheckError(f'{total} ({places})')
    return f'{total}, {how}'


def _count_waits(bench: Bench, run: Callable[[nn.Module, tuple], Any]) -> tuple[dict[str, int], str]:
    """Waits by place or operation, and how they were counted: CUDA reports them, other devices do not."""
    if bench.device.type != 'cuda':
        model, batch, counter = copy.deepcopy(bench.model), bench.batch('cpu'), OperationCounter()
        with counter:
            run(model, batch)
        return +counter.waits, 'counted on the CPU as for a GPU'
    model = copy.deepcopy(bench.model).to(bench.device)
    run(model, bench.batch(bench.device))  # what is set up once may wait
    batch = bench.batch(bench.device)
    return waits_reported_by_cuda(lambda: run(model, batch)), 'reported by CUDA'


def waits_reported_by_cuda(run: Callable[[], Any]) -> dict[str, int]:
    """How often CUDA made the CPU wait, by line of Python code; torch warns of each time."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode('warn')
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            run()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    return Counter(
        f'{Path(warning.filename).name}:{warning.lineno}' for warning in caught if _SYNC_MESSAGE in str(warning.message)
    )


def _seconds(run: Callable[[], None], device: torch.device) -> float:
    """Of a second call, once the device is done."""
    synchronize = getattr(getattr(torch, device.type, None), 'synchronize', lambda: None)
    for _ in range(2):
        start = time.perf_counter()
        run()
        synchronize()
    return time.perf_counter() - start


def _peak_memory(device: torch.device) -> float | None:
    """Bytes: of the whole process on the CPU, of torch's tensors elsewhere; None where nobody says."""
    if device.type != 'cpu':
        most = getattr(getattr(torch, device.type, None), 'max_memory_allocated', None)
        return most(device) if most else None
    status = Path('/proc/self/status')
    return int(re.search(r'VmHWM:\s+(\d+) kB', status.read_text())[1]) * 1024 if status.is_file() else None


def _cpu_name() -> str:
    info = Path('/proc/cpuinfo')
    names = re.findall(r'model name\s*: (.+)', info.read_text()) if info.is_file() else []
    return names[0] if names else platform.processor() or platform.machine()
