"""The wrappers: a single view is the model itself, symmetric views give symmetric results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

SIZE = (64, 96)
TTA = dict(panoptic='MaskDINOTTA', instance='MaskDINOTTA', detection='MaskDINOTTA', semantic='mmseg.MaskDINOSegTTA')
NAMES = dict(
    panoptic='maskdino_r18_shapes_panoptic',
    instance='maskdino_r50_coco_instance',
    detection='maskdino_r18_shapes_detection',
    semantic='maskdino_r18_shapes_semantic',
)


@pytest.fixture
def wrap(small_config: Callable, make_model: Callable) -> Callable[[str], nn.Module]:
    """A small model of a task, wrapped."""

    def _wrap(task: str, **head: dict) -> nn.Module:
        cfg = small_config(NAMES[task])
        cfg.model.get('panoptic_head', {}).update(head)
        if task != 'semantic':
            cfg.model.test_cfg.update(max_per_image=20)
        model = make_model(cfg).eval()
        head = model.decode_head if task == 'semantic' else model.panoptic_head
        with torch.no_grad():  # scores high enough for panoptic segments
            nn.init.normal_(head.heads.classify.weight, std=0.5)
            nn.init.zeros_(head.heads.classify.bias)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            return MODELS.build(dict(type=TTA[task], module=model))

    return _wrap


@pytest.fixture
def batch_of(make_batch: Callable, make_seg_batch: Callable) -> Callable[..., dict]:
    """Views of an image: (scale, flip direction) each."""

    def _batch_of(task: str, image: Tensor, views: list[tuple[float, str | None]]) -> dict:
        inputs, samples = [], []
        for scale, direction in views:
            size = [round(scale * length) for length in image.shape[1:]]
            view = nn.functional.interpolate(image[None].float(), size, mode='bilinear')[0].byte()
            axes = dict(horizontal=[2], vertical=[1], diagonal=[1, 2]).get(direction, [])
            batch = make_seg_batch([tuple(size)]) if task == 'semantic' else make_batch([1], [tuple(size)])
            sample = batch['data_samples'][0]
            sample.set_metainfo(dict(flip=bool(direction), flip_direction=direction, ori_shape=SIZE))
            inputs.append([view.flip(axes)])
            samples.append([sample])
        return dict(inputs=inputs, data_samples=samples)

    return _batch_of


@pytest.fixture
def image() -> Tensor:
    """(3, h, w) uint8, smooth."""
    coarse = torch.rand(1, 3, 6, 9) * 255
    return nn.functional.interpolate(coarse, SIZE, mode='bicubic').clamp(0, 255)[0].byte()


def results(sample: BaseDataElement) -> dict[str, Tensor]:
    """All tensors of the results."""
    found = {}
    for field in ('pred_instances', 'pred_panoptic_seg', 'pred_sem_seg'):
        if field in sample:
            found |= {f'{field}.{key}': value for key, value in sample.get(field).items()}
    return found


@pytest.mark.parametrize('task', TTA)
def test_one_view_is_the_model_itself(task, wrap, batch_of, image) -> None:
    tta = wrap(task)
    plain = tta.module.test_step({key: value[0] for key, value in batch_of(task, image, [(1, None)]).items()})[0]
    merged = tta.test_step(batch_of(task, image, [(1, None)]))[0]
    expected, found = results(plain), results(merged)
    assert set(found) == set(expected) and len(found) >= 1
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


@pytest.mark.parametrize('task', TTA)
def test_the_same_view_twice_changes_nothing(task, wrap, batch_of, image) -> None:
    tta = wrap(task)
    expected = results(tta.test_step(batch_of(task, image, [(1, None)]))[0])
    found = results(tta.test_step(batch_of(task, image, [(1, None), (1, None)]))[0])
    if task != 'semantic':
        torch.testing.assert_close(
            found['pred_instances.scores'], expected['pred_instances.scores'], atol=1e-5, rtol=1e-4
        )
    for key in ('pred_sem_seg.sem_seg', 'pred_sem_seg.data'):
        if key in expected:
            assert (found[key] == expected[key]).float().mean() > 0.999, key


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
@pytest.mark.parametrize('task', ['panoptic', 'detection', 'semantic'])
def test_results_turn_with_the_image(task, direction, wrap, batch_of, image) -> None:
    """With an image and its mirror image as views, the mirror image has the mirrored results."""
    tta = wrap(task)
    axes = dict(horizontal=[2], vertical=[1], diagonal=[1, 2])[direction]
    views = [(1, None), (1, direction), (0.75, None), (0.75, direction)]
    upright = results(tta.test_step(batch_of(task, image, views))[0])
    turned = results(tta.test_step(batch_of(task, image.flip(axes), views))[0])
    for key, value in upright.items():
        if key.endswith(('sem_seg', 'data')):
            assert (turned[key].flip(axes) % 1000 == value % 1000).float().mean() > 0.99, key
    if task != 'semantic':
        torch.testing.assert_close(
            turned['pred_instances.scores'], upright['pred_instances.scores'], atol=1e-3, rtol=1e-2
        )
        assert len(upright['pred_instances.scores']) == 20


def test_masks_turn_with_their_boxes(wrap, batch_of, image) -> None:
    """A model whose masks know their boxes: all parts of a view turn together."""
    tta = wrap('panoptic', box_prior=dict(type='BoxPrior', strength=3.0))
    tta.panoptic_fusion_head.settings = replace(tta.panoptic_fusion_head.settings, box_margin=0.1)
    views = [(1, None), (1, 'diagonal')]
    upright = results(tta.test_step(batch_of('panoptic', image, views))[0])
    turned = results(tta.test_step(batch_of('panoptic', image.flip([1, 2]), views))[0])
    masks, mirrored = upright['pred_instances.masks'], turned['pred_instances.masks'].flip([1, 2])
    assert masks.any() and (masks == mirrored).float().mean() > 0.99


def test_a_batch_of_images(wrap, batch_of, image) -> None:
    """Each image has its own views."""
    tta, views = wrap('panoptic'), [(1, None), (0.75, 'horizontal')]
    images = [image, image.flip(0)]
    alone = [results(tta.test_step(batch_of('panoptic', x, views))[0]) for x in images]
    both = [batch_of('panoptic', x, views) for x in images]
    data = {key: [a + b for a, b in zip(both[0][key], both[1][key], strict=True)] for key in both[0]}
    for found, expected in zip(map(results, tta.test_step(data)), alone, strict=True):
        torch.testing.assert_close(found['pred_instances.scores'], expected['pred_instances.scores'], atol=1e-4, rtol=0)
        assert (found['pred_sem_seg.sem_seg'] == expected['pred_sem_seg.sem_seg']).float().mean() > 0.99


def test_checkpoints_are_the_models_own(wrap) -> None:
    tta = wrap('panoptic')
    state = tta.state_dict()
    assert set(state) == set(tta.module.state_dict()) and tta.panoptic_head is tta.module.panoptic_head


def test_thresholds_apply_to_what_was_merged(wrap, batch_of, image) -> None:
    tta = wrap('panoptic')
    views = [(1, None), (1, 'horizontal')]
    scores = results(tta.test_step(batch_of('panoptic', image, views))[0])['pred_instances.scores']
    fusion = tta.panoptic_fusion_head
    fusion.settings = replace(fusion.settings, score_thr=scores[7].item())
    few = results(tta.test_step(batch_of('panoptic', image, views))[0])['pred_instances.scores']
    assert torch.equal(few, scores[: len(few)]) and 8 <= len(few) < 20


def test_what_cannot_work(wrap, batch_of, image, small_config) -> None:
    module = wrap('panoptic').module
    with pytest.raises(ValueError, match='merge_iou must lie in'):
        MODELS.build(dict(type='MaskDINOTTA', module=module, merge_iou=0))
    with pytest.raises(TypeError):
        MODELS.build(dict(type='MaskDINOTTA', module=module, merge_ious=0.5))
    cfg = small_config(NAMES['semantic'])
    cfg.model.test_cfg = dict(mode='slide', crop_size=(64, 64), stride=(32, 32))
    with DefaultScope.overwrite_default_scope('mmseg'), pytest.raises(ValueError, match="got 'slide'"):
        MODELS.build(dict(type='mmseg.MaskDINOSegTTA', module=cfg.model))
