"""Whatever is in the images, losses and gradients are finite: properties over random ground truth."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

pytestmark = pytest.mark.slow
HEIGHT, WIDTH = 48, 64
NUM_THINGS, NUM_STUFF = 6, 4

coordinates = st.tuples(st.integers(-9, WIDTH), st.integers(-9, HEIGHT), st.integers(1, WIDTH), st.integers(1, HEIGHT))
objects = st.one_of(
    coordinates,
    st.just((0, 0, WIDTH, HEIGHT)),  # the whole image
    st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.just(1), st.just(1)),  # one pixel
    st.sampled_from([(8, 8, 8, 8), (16, 8, 8, 8), (8, 16, 8, 8)]),  # duplicates, and such as touch
    st.sampled_from([(-50, 0, 9, 9), (WIDTH, 4, 9, 9)]),  # outside: a box, and an empty mask
)
images = st.tuples(st.lists(objects, max_size=12), st.sampled_from(['all void', 'one class', 'all classes']))


@pytest.fixture(scope='module')
def model(project_root) -> nn.Module:
    cfg = Config.fromfile(project_root / 'configs' / 'maskdino' / 'maskdino_r18_shapes_panoptic.py')
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        model.init_weights()
    return model.train()


def make_sample(boxes: list[tuple], ground: str) -> DetDataSample:
    """Ground truth as the data pipeline makes it: boxes cut at the image, a mask of each thing, a map of stuff."""
    corners = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    corners[:, 2:] += corners[:, :2]
    masks = torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, corners.int().clamp(min=0).tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    corners[:, 0::2].clamp_(0, WIDTH)
    corners[:, 1::2].clamp_(0, HEIGHT)
    sample = DetDataSample(metainfo=dict(img_shape=(HEIGHT, WIDTH), ori_shape=(HEIGHT, WIDTH), img_path='random.jpg'))
    sample.gt_instances = InstanceData(
        bboxes=HorizontalBoxes(corners),
        labels=torch.arange(len(boxes)) % NUM_THINGS,
        masks=BitmapMasks(masks.numpy(), HEIGHT, WIDTH),
    )
    semantic = torch.full((1, HEIGHT, WIDTH), 255)
    if ground != 'all void':
        semantic[:, HEIGHT // 2 :] = NUM_THINGS
    if ground == 'all classes':
        semantic[:, :, ::2] = torch.arange(HEIGHT)[:, None] % NUM_STUFF + NUM_THINGS
    sample.gt_sem_seg = PixelData(sem_seg=semantic)
    return sample


@pytest.fixture(scope='module')
def train(model: nn.Module) -> Callable[[list], dict[str, Tensor]]:
    """Losses of a batch, after a backward pass."""

    def _train(batch: list[tuple]) -> dict[str, Tensor]:
        torch.manual_seed(1)
        model.zero_grad()
        inputs = [torch.randint(256, (3, HEIGHT, WIDTH), dtype=torch.uint8) for _ in batch]
        data = dict(inputs=inputs, data_samples=[make_sample(*image) for image in batch])
        with DefaultScope.overwrite_default_scope('mmdet'):
            losses = model(**model.data_preprocessor(data, training=True), mode='loss')
        sum(losses.values()).backward()
        return losses

    return _train


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(batch=st.lists(images, min_size=1, max_size=2))
@example(batch=[([], 'all void')])
@example(batch=[([], 'all void'), ([(4, 4, 9, 9)], 'all classes')])
@example(batch=[([(-50, 0, 9, 9)], 'all void')])
@example(batch=[([(0, 0, WIDTH, HEIGHT)] * 40, 'one class')])
def test_losses_and_gradients_are_finite(train, model: nn.Module, batch: list) -> None:
    losses = train(batch)
    assert all(loss.isfinite() for loss in losses.values()), losses
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
        # A process without objects must still touch every parameter, or the others wait for it.
        assert parameter.grad is not None or not parameter.requires_grad, name


def test_a_thousand_objects(train) -> None:
    """More than there are queries: each query finds one, and the rest is not matched."""
    boxes = [(x % 60, x // 25, 3, 4) for x in range(1000)]
    assert all(loss.isfinite() for loss in train([(boxes, 'all classes')]).values())
