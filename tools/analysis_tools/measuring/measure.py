"""All figures of several models, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import torch

from mmmaskdino.apis.selftest import OperationCounter
from mmmaskdino.models.seg_heads import MaskDINOFusionHead
from mmmaskdino.models.seg_heads.image_queries import ImageFrames, ImageQueries

from .memory import peak_memory
from .models import CROWDED, INFERENCE, TRAINING, Case, Subject, build_model, interleaved

CASES = dict(inference=INFERENCE, training=TRAINING, crowded=CROWDED)


def measure(
    names: Sequence[str], options: Mapping[str, Any], rounds: int, device: str = 'cpu'
) -> dict[str, dict[str, Any]]:
    """Figures by model, as :func:`measuring.report.compare` reads them.

    Args:
        names (Sequence[str]): Models as of :func:`build_model`, ours first.
        options (Mapping): Changes of the config of the first.
        rounds (int): Rounds of each case after one to warm up.
        device (str): Where times and memory are measured; counts are always taken on the CPU.
    """
    changes = {name: options if name == names[0] else {} for name in names}
    figures: dict[str, dict[str, Any]] = {name: {} for name in names}
    threads = torch.get_num_threads()
    for name in names:
        figures[name]['memory'] = peak_memory(name, changes[name], TRAINING, device, threads)._asdict()
    subjects = {name: Subject(build_model(name, changes[name], device), device) for name in names}
    for case_name, case in CASES.items():
        for name, times in interleaved(subjects, case, rounds).items():
            figures[name][case_name] = summarize(times)
    for name in names:
        subject = subjects[name] if device == 'cpu' else Subject(build_model(name, changes[name]))
        counter = subject.count(TRAINING)
        figures[name] |= dict(
            operations=sum(counter.operations.values()),
            waits=sum(counter.waits.values()),
            gflop=subject.flops(INFERENCE) / 1e9,
        )
    figures[names[0]]['panoptic_waits'] = panoptic_waits()
    return figures


def summarize(times: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Medians of the parts and of their sum, and the sum's spread."""
    totals = [sum(seconds.values()) for seconds in times]
    parts = {part: median(seconds.get(part, 0.0) for seconds in times) for part in times[0]}
    return dict(total=median(totals), least=min(totals), most=max(totals), parts=parts)


def sweep(subjects: Mapping[str, Subject], cases: Mapping[str, Case], rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds by case and model."""
    return {
        label: {name: summarize(times)['total'] for name, times in interleaved(subjects, case, rounds).items()}
        for label, case in cases.items()
    }


def panoptic_waits(num_segments: int = 100) -> int:
    """How often the CPU waits while a panoptic map of many segments is made."""
    torch.manual_seed(0)
    settings = dict(instance_on=False, panoptic_on=True)
    head = MaskDINOFusionHead(80, 53, test_cfg=settings)
    logits = torch.full((2 * num_segments, 133), -8.0)
    logits[torch.arange(num_segments), torch.randint(133, (num_segments,))] = 4.0
    queries = ImageQueries(logits, torch.rand(len(logits), 4), torch.randn(len(logits), 16), torch.randn(16, 40, 40))
    counter = OperationCounter()
    with counter:
        head.predict_image(queries, ImageFrames((160, 160), (160, 160), (160, 160)))
    return sum(counter.waits.values())
