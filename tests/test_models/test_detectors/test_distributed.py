"""Two gloo processes against one process with the same global batch."""

import multiprocessing
from copy import deepcopy
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

WORLD_SIZE = 2
TIMEOUT = 120  # seconds
# Objects per image; the first half of the images belongs to rank 0.
CASES = {
    'panoptic': dict(config='maskdino_r50_coco_panoptic', counts=[3, 1, 2, 3]),
    'instance': dict(config='maskdino_r50_coco_instance', counts=[4, 1, 2, 0]),
    'detection': dict(config='maskdino_r50_coco_detection', counts=[2, 1, 2, 2]),
    'softmax': dict(config='maskdino_r50_coco_instance', counts=[4, 1, 2, 2], softmax=True),
    'empty rank': dict(config='maskdino_r50_coco_instance', counts=[3, 1, 0, 0]),
    'empty panoptic rank': dict(config='maskdino_r50_coco_panoptic', counts=[0, 0, 3, 1]),
}


def training_step(case: dict, rank: int, world_size: int) -> dict:
    """Losses and gradients of one step on this rank's share of the batch."""
    model = MODELS.build(ConfigDict(case['model']))
    model.load_state_dict(case['state_dict'])
    remove_randomness(model.panoptic_head)
    model.train()
    share = slice(rank * len(case['inputs']) // world_size, (rank + 1) * len(case['inputs']) // world_size)
    data = model.data_preprocessor({key: case[key][share] for key in ('inputs', 'data_samples')}, training=True)
    wrapped = DistributedDataParallel(model) if world_size > 1 else model
    losses = wrapped(**data, mode='loss')
    sum(losses.values()).backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    return dict(losses={name: loss.detach() for name, loss in losses.items()}, grads=grads)


def remove_randomness(head) -> None:
    """The same points in all images and the same noise on all objects."""
    sampler = head.criterion.point_sampler
    points = sampler.draw(1, torch.device('cpu'))
    sampler.draw = lambda bs, device: points.expand(bs, -1, -1)
    if head.denoising is not None:
        head.denoising.noise_labels = lambda labels: (labels + 1) % head.num_classes
        head.denoising.noise_boxes = lambda boxes: head.denoising.shift_boxes(boxes, torch.full_like(boxes, 0.8))


def run_rank(folder: Path, rank: int) -> None:
    """One of the two processes: all cases, one after another."""
    distributed.init_process_group(
        'gloo', f'file://{folder}/meeting', timedelta(seconds=TIMEOUT), world_size=WORLD_SIZE, rank=rank
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        for path in sorted(folder.glob('*.case')):
            torch.manual_seed(7)
            torch.save(training_step(torch.load(path, weights_only=False), rank, WORLD_SIZE), f'{path}.{rank}')
    distributed.destroy_process_group()


@pytest.fixture
def make_case(small_config, make_model, make_batch):
    """Model, weights and batch of a case."""

    def make(config, counts, softmax=False):
        cfg = small_config(config)
        if softmax:
            cfg.model.panoptic_head.criterion.loss_cls = dict(type='QueryCrossEntropyLoss', loss_weight=4.0)
        model = make_model(cfg)
        head = model.panoptic_head
        # On smaller images the coarsest map has two cells, and normalising one channel of them amplifies rounding.
        sizes = [(128, 192)] * len(counts)
        batch = make_batch(counts, sizes, head.num_things_classes, head.num_stuff_classes, head.with_masks)
        return dict(model=cfg.model.to_dict(), state_dict=model.state_dict(), **batch)

    return make


@pytest.fixture
def results(make_case, tmp_path):
    """{case: (of the single process, [of each rank])}; the two processes start once for all cases."""
    cases = {name: make_case(**settings) for name, settings in CASES.items()}
    for name, case in cases.items():
        torch.save(case, tmp_path / f'{name}.case')
    context = multiprocessing.get_context('fork')  # the imports take longer than all the steps
    ranks = [context.Process(target=run_rank, args=(tmp_path, rank)) for rank in range(WORLD_SIZE)]
    for rank in ranks:
        rank.start()
    single = {}
    try:
        for name, case in cases.items():
            torch.manual_seed(7)
            single[name] = training_step(case, 0, 1)
        for rank in ranks:
            rank.join(timeout=TIMEOUT)
        assert [rank.exitcode for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    return {
        name: (single[name], [torch.load(tmp_path / f'{name}.case.{rank}') for rank in range(WORLD_SIZE)])
        for name in CASES
    }


def test_two_processes_are_one(results):
    for case, (single, ranks) in results.items():
        for name, expected in single['losses'].items():
            # Each rank divides by the objects per rank, and gradients are averaged: so are the losses.
            got = sum(rank['losses'][name] for rank in ranks) / WORLD_SIZE
            assert float(got) == pytest.approx(float(expected), rel=1e-5, abs=1e-5), f'{case}: {name}'
        for name, expected in single['grads'].items():
            first, second = (rank['grads'][name] for rank in ranks)
            assert torch.equal(first, second) and first.isfinite().all(), f'{case}: {name}'
            error = (first - expected).norm() / expected.norm().clamp(min=1)
            assert error < 1e-5, f'{case}: {name}: {error}'


def test_accumulated_gradients_are_those_of_the_large_batch(make_case):
    """Where all parts have as many objects: each part divides by its own number."""
    case = make_case('maskdino_r50_coco_panoptic', counts=[3, 1, 1, 3])
    weights = []
    for num_parts in (1, 2):
        torch.manual_seed(7)
        model = MODELS.build(ConfigDict(case['model']))
        model.load_state_dict(case['state_dict'])
        remove_randomness(model.panoptic_head)
        model.train()
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
        wrapper = OptimWrapper(optimizer, accumulative_counts=num_parts)
        size = len(case['inputs']) // num_parts
        for first in range(0, len(case['inputs']), size):
            part = {key: deepcopy(case[key][first : first + size]) for key in ('inputs', 'data_samples')}
            model.train_step(part, wrapper)
        weights.append({name: p.detach() for name, p in model.named_parameters() if p.requires_grad})
    for name, expected in weights[0].items():
        step = expected - case['state_dict'][name]
        assert (weights[1][name] - expected).norm() <= 1e-4 * step.norm().clamp(min=1e-3), name
    assert any(not torch.equal(tensor, case['state_dict'][name]) for name, tensor in weights[0].items())
