"""What runs on other devices than the CPU, without one.

What only they do is run on the CPU, with the same numbers and gradients. And fake tensors, which have a device but no
values, go through the whole model: where two devices meet, they raise an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
from mmdet.structures import DetDataSample
from mmengine.utils import digit_version
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmmaskdino.models.seg_heads import MaskDINOFusionHead
from mmmaskdino.models.task_modules import HybridHungarianAssigner
from mmmaskdino.ops import deform_attn, device, mask_losses_host, points, smallest
from mmmaskdino.structures import Targets

FAMILIES = [
    'maskdino_r50_coco_instance',
    'maskdino_r50_coco_panoptic',
    'maskdino_r50_coco_detection',
    'maskdino_r50_ade20k_semantic',
    'maskdino_swin-l_coco_instance',
]
CANVAS = (64, 96)


class MmcvOperator:
    """Takes the place of mmcv's operator, which runs on GPUs alone."""

    @staticmethod
    def apply(value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor, step: int) -> Tensor:
        return multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)


class FakeOperator:
    """The same of tensors without values: the right size, and all arguments on one device."""

    @staticmethod
    def apply(value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor, step: int) -> Tensor:
        assert shapes.device == starts.device == value.device and value.shape[1:3] == (value.shape[1], weights.shape[2])
        per_query = weights.sum((-1, -2)) + locations.sum((-1, -2, -3))
        return (value.mean(1)[:, None] * per_query[..., None]).flatten(2)


def head_of(model: nn.Module) -> nn.Module:
    return model.decode_head if hasattr(model, 'decode_head') else model.panoptic_head


# ------------------------------------------------------------------------------ what only others do, on the CPU


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets the model take its CPU for another device."""

    def pretend(kind: str) -> None:
        for module in (device, deform_attn, mask_losses_host, points, smallest):
            monkeypatch.setattr(module, 'is_host', lambda tensor: False)
        monkeypatch.setattr(deform_attn, '_mmcv_runs_on', lambda value: kind == 'cuda')
        monkeypatch.setattr(deform_attn, 'MultiScaleDeformableAttnFunction', MmcvOperator)
        monkeypatch.delattr(deform_attn, 'sample_rows')

    return pretend


@pytest.mark.parametrize('kind', ['cuda', 'another'])
@pytest.mark.parametrize('name', FAMILIES[:4])
def test_losses_gradients_and_results_are_those_of_the_cpu(
    small_config, make_model, make_batch, make_seg_batch, elsewhere, name, kind
):
    cfg = small_config(name)
    model = make_model(cfg)
    head = head_of(model)
    if 'semantic' in name:
        make = lambda: make_seg_batch([CANVAS] * 2)  # noqa: E731
    else:
        counts = dict(num_things=head.num_things_classes, num_stuff=head.num_stuff_classes, with_masks=head.with_masks)
        make = lambda: make_batch([3, 1], **counts)  # noqa: E731
    torch.manual_seed(0)
    batch = make()

    def run() -> tuple[dict, dict, list]:
        model.train().zero_grad()
        data = model.data_preprocessor(batch, True)
        torch.manual_seed(1)
        losses = model.loss(data['inputs'], data['data_samples'])
        losses = {name: value for name, value in losses.items() if 'loss' in name}
        sum(losses.values()).backward()
        grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        with torch.no_grad():
            data = model.eval().data_preprocessor(batch, False)
            return losses, grads, model.predict(data['inputs'], data['data_samples'])

    expected = run()
    elsewhere(kind)
    found = run()
    for got, want in zip(found[:2], expected[:2], strict=True):
        assert set(got) == set(want)
        for name, value in want.items():
            torch.testing.assert_close(got[name], value, rtol=2e-3, atol=2e-4, msg=lambda m, name=name: f'{name}: {m}')
    for got, want in zip(found[2], expected[2], strict=True):
        for kind_of_result in ('pred_panoptic_seg', 'pred_sem_seg'):
            if kind_of_result in want:
                maps = [getattr(x, kind_of_result).values()[0] for x in (got, want)]
                assert (maps[0] != maps[1]).float().mean() < 0.01
        if 'pred_instances' in want:
            torch.testing.assert_close(got.pred_instances.scores, want.pred_instances.scores, rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------------------------------------ fake tensors


@pytest.fixture(params=['cuda', 'meta'])
def kind(request: pytest.FixtureRequest) -> str:
    """A GPU, and a device that is neither GPU nor CPU."""
    return request.param


@pytest.fixture
def fake(kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors without values. What reads values gets some that fit."""
    if digit_version(torch.__version__) < digit_version('2.4'):
        pytest.skip('the fake tensors of older versions know too few operations')
    monkeypatch.setattr(deform_attn, 'MultiScaleDeformableAttnFunction', FakeOperator)
    monkeypatch.setattr(
        HybridHungarianAssigner, '_to_host', lambda self, costs: np.zeros(sum(len(x) for x in costs), np.float32)
    )

    def chosen(self: MaskDINOFusionHead, cls_logits: Tensor) -> tuple[Tensor, ...]:
        scores, labels, queries, _ = self._best_pairs(cls_logits)
        return scores, labels, queries, queries, torch.arange(len(queries), device=queries.device)

    def segments(self: MaskDINOFusionHead, cls_logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores, labels = self.sharpened_scores(cls_logits).max(-1)
        return scores, labels, torch.arange(len(scores), device=scores.device)

    monkeypatch.setattr(MaskDINOFusionHead, '_chosen_and_unique', chosen)
    monkeypatch.setattr(MaskDINOFusionHead, 'choose_segments', segments)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def move(model: nn.Module, kind: str) -> nn.Module:
    """The model with fake parameters and buffers of a device."""
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                new = torch.empty(value.shape, dtype=value.dtype, device=kind)
                module._parameters[name] = nn.Parameter(new, requires_grad=value.requires_grad)
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = torch.empty(value.shape, dtype=value.dtype, device=kind)
    return model


def fake_targets(head: nn.Module, counts: list[int], kind: str) -> list[Targets]:
    targets = []
    for i, num in enumerate(counts):
        masks = torch.empty(num, *CANVAS, dtype=torch.bool, device=kind) if head.with_masks else None
        ignored = torch.empty(CANVAS, dtype=torch.bool, device=kind) if head.with_masks and i else None
        labels = torch.empty(num, dtype=torch.int64, device=kind)
        is_thing = torch.empty(num, dtype=torch.bool, device=kind)
        targets.append(Targets(labels, torch.empty(num, 4, device=kind), masks, is_thing, ignored))
    return targets


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest, small_config, make_model) -> nn.Module:
    """A small model of each family, still on the CPU."""
    return make_model(small_config(request.param))


@pytest.mark.parametrize(
    ('counts', 'sizes'), [([3, 1], None), ([0, 120], [(1.0, 1.0), (0.5, 0.75)])], ids=['full', 'padded and crowded']
)
def test_a_training_step_stays_on_its_device(model, fake, kind, counts, sizes):
    head = head_of(move(model, kind).train())
    features = model.extract_feat(torch.empty(2, 3, *CANVAS, device=kind))
    targets = fake_targets(head, counts, kind)
    losses = head.criterion(head.forward_train(features, targets, sizes), targets)
    assert all(loss.device.type == kind for loss in losses.values())
    if kind == 'meta':  # gradients of fake tensors of a GPU need a torch that is built for one
        sum(losses.values()).backward()
        assert all(p.grad is None or p.grad.device.type == kind for p in head.parameters())


@torch.no_grad()
def test_a_prediction_stays_on_its_device(model, fake, kind):
    move(model, kind).eval()
    images = torch.empty(1, 3, *CANVAS, device=kind)
    if hasattr(model, 'decode_head'):
        results = model.predict(images)
        assert results[0].pred_sem_seg.data.device.type == kind
        return
    metainfo = dict(batch_input_shape=CANVAS, img_shape=(60, 90), ori_shape=(120, 180))
    (result,) = model.predict(images, [DetDataSample(metainfo=metainfo)])
    for name in ('pred_instances', 'pred_panoptic_seg', 'pred_sem_seg'):
        for value in result.get(name, DetDataSample()).values():
            assert value.device.type == kind


def test_fake_tensors_notice_where_devices_mix(fake, kind):
    with pytest.raises(RuntimeError, match='[Dd]evice'):
        torch.empty(3, device=kind) + torch.arange(3)
