"""What the tests of the model build again and again: small heads, small models, ground truth, batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmmaskdino.models.utils.boxes import normalize_boxes
from mmmaskdino.structures import Memory, Targets

CANVAS = (64, 96)
BOX_COSTS = [
    dict(type='ThingOnlyCost', cost=dict(type='BoxL1Cost', weight=5.0)),
    dict(type='ThingOnlyCost', cost=dict(type='BoxGIoUCost', weight=2.0)),
]
MASK_COSTS = [dict(type='PointBCECost', weight=5.0), dict(type='PointDiceCost', weight=5.0)]
HEAD = dict(
    type='MaskDINOHead',
    num_things_classes=5,
    num_stuff_classes=0,
    in_channels=[8, 16, 24, 32],
    dim=32,
    mask_dims=16,
    num_heads=4,
    num_points=2,
    pixel_decoder=dict(type='MaskDINOPixelDecoder', encoder_strides=[8, 16, 32], num_layers=1, ffn_dim=48),
    query_init=dict(type='EncoderQuerySelection', num_queries=12, proposal_sizes=[0.1, 0.2, 0.4]),
    decoder=dict(type='MaskDINOTransformerDecoder', num_layers=2, ffn_dim=48),
    denoising=dict(type='DenoisingGenerator', num_queries=10),
    criterion=dict(
        type='MaskDINOCriterion',
        num_points=64,
        assigner=dict(
            type='HybridHungarianAssigner',
            match_costs=[dict(type='FocalLossCost', weight=4.0), *BOX_COSTS, *MASK_COSTS],
        ),
        loss_cls=dict(type='QueryFocalLoss', loss_weight=4.0),
        loss_bbox=dict(type='L1Loss', loss_weight=5.0),
        loss_iou=dict(type='BoxGIoULoss', loss_weight=2.0),
        loss_mask=dict(type='PointBCELoss', loss_weight=5.0),
        loss_dice=dict(type='PointDiceLoss', loss_weight=5.0),
    ),
)
DETECTION = {
    'mask_dims': None,
    'criterion.loss_mask': None,
    'criterion.loss_dice': None,
    'criterion.assigner.match_costs': [dict(type='FocalLossCost', weight=4.0), *BOX_COSTS],
}
LEARNED_SOFTMAX = {
    'query_init': dict(_delete_=True, type='LearnedQueries', num_queries=12),
    'criterion.loss_cls': dict(_delete_=True, type='QueryCrossEntropyLoss', loss_weight=4.0),
    'criterion.assigner.match_costs': [dict(type='ClassificationCost', weight=4.0), *BOX_COSTS, *MASK_COSTS],
}
KINDS = {None: {}, 'detection': DETECTION, 'learned softmax': LEARNED_SOFTMAX}


@pytest.fixture(autouse=True)
def _scope(mmdet_scope: None) -> None:
    """The scope of a run."""


@pytest.fixture(scope='session')
def golden_ops(shared_golden: Path) -> dict:
    """Recorded inputs and outputs of the reference's functions."""
    return torch.load(shared_golden / 'ops.pt', weights_only=True)


@pytest.fixture
def head_config() -> Callable[..., Config]:
    """Config of a small head; changes by dotted key, or `kind` 'detection' or 'learned softmax'."""

    def config(changes: dict | None = None, kind: str | None = None) -> Config:
        cfg = Config(deepcopy(HEAD))
        cfg.merge_from_dict(deepcopy(KINDS[kind]))  # merging takes `_delete_` away
        cfg.merge_from_dict(changes or {})
        return cfg

    return config


@pytest.fixture
def make_head(head_config: Callable[..., Config], perturb: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """An initialised small head whose parameters are all off their special starting values."""

    def make(changes: dict | None = None, kind: str | None = None) -> nn.Module:
        head = MODELS.build(head_config(changes, kind))
        head.init_weights()
        return perturb(head)

    return make


@pytest.fixture
def small_config(project_root: Path, shrink: Callable[[Config], Config]) -> Callable[[str], Config]:
    """A shipped config with its model shrunk in width and depth; the structure stays."""

    def config(name: str) -> Config:
        return shrink(Config.fromfile(project_root / 'configs' / 'maskdino' / f'{name}.py'))

    return config


@pytest.fixture
def make_features() -> Callable[..., list[Tensor]]:
    """Random backbone maps at strides 4 to 32, as the small head expects them."""

    def make(bs: int = 2, canvas: tuple[int, int] = CANVAS) -> list[Tensor]:
        h, w = canvas
        return [torch.randn(bs, 8 * i, h // 2 ** (i + 1), w // 2 ** (i + 1)) for i in range(1, 5)]

    return make


@pytest.fixture
def make_memory() -> Callable[..., Memory]:
    """Random tokens of 32 channels."""

    def make(shapes: Sequence[tuple[int, int]], bs: int = 2, padding: Tensor | None = None, dim: int = 32) -> Memory:
        shapes = tuple(map(tuple, shapes))
        return Memory(torch.randn(bs, sum(h * w for h, w in shapes), dim), shapes, padding)

    return make


@pytest.fixture
def make_targets() -> Callable[..., list[Targets]]:
    """Random objects, `counts[i]` things and `stuff[i]` stuff objects in image i."""

    def make(
        counts: Sequence[int], stuff: Sequence[int] | None = None, num_things: int = 5, num_stuff: int = 0
    ) -> list[Targets]:
        targets = []
        for things, others in zip(counts, stuff or [0] * len(counts), strict=True):
            bboxes, masks = random_rectangles(things + others, CANVAS)
            labels = [torch.randint(num_things, (things,)), num_things + torch.arange(others) % max(num_stuff, 1)]
            is_thing = torch.arange(things + others) < things
            targets.append(Targets(torch.cat(labels), normalize_boxes(bboxes, CANVAS), masks, is_thing))
        return targets

    return make


@pytest.fixture
def make_batch() -> Callable[..., dict]:
    """A batch as the data loader gives it: uint8 images, `counts[i]` things in image i, stuff in images with things."""

    def make(
        counts: Sequence[int],
        sizes: Sequence[tuple[int, int]] | None = None,
        num_things: int = 5,
        num_stuff: int = 0,
        with_masks: bool = True,
    ) -> dict:
        sizes = sizes or [CANVAS] * len(counts)
        samples = [
            random_sample(f'{i}.jpg', count, size, num_things, num_stuff, with_masks)
            for i, (count, size) in enumerate(zip(counts, sizes, strict=True))
        ]
        images = [torch.randint(256, (3, *size), dtype=torch.uint8) for size in sizes]
        return dict(inputs=images, data_samples=samples)

    return make


@pytest.fixture
def make_seg_batch() -> Callable[..., dict]:
    """A batch of mmseg: uint8 images with label maps of stripes, of which some rows are unlabelled (255)."""

    def make(sizes: Sequence[tuple[int, int]], num_classes: int = 150) -> dict:
        samples = []
        for i, (h, w) in enumerate(sizes):
            labels = torch.randint(num_classes, (-(-w // 16),)).repeat_interleave(16)[:w].repeat(h, 1)
            labels[: h // 4] = 255
            sample = SegDataSample(metainfo=dict(img_path=f'{i}.jpg', img_shape=(h, w), ori_shape=(h, w)))
            sample.gt_sem_seg = PixelData(data=labels[None])
            samples.append(sample)
        images = [torch.randint(256, (3, *size), dtype=torch.uint8) for size in sizes]
        return dict(inputs=images, data_samples=samples)

    return make


def random_sample(name, num_gts, size, num_things, num_stuff, with_masks) -> DetDataSample:
    """Ground truth as `PackDetInputs` packs it. An image without things has no labelled stuff either."""
    bboxes, masks = random_rectangles(num_gts, size)
    instances = InstanceData(bboxes=HorizontalBoxes(bboxes), labels=torch.randint(num_things, (num_gts,)))
    if with_masks:
        instances.masks = BitmapMasks(masks.numpy().astype('uint8'), *size)
    meta = dict(img_path=name, img_id=name, img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
    sample = DetDataSample(gt_instances=instances, metainfo=meta)
    if num_stuff:
        sem_seg = torch.full(size, 255)
        if num_gts:
            for row, label in enumerate(num_things + torch.randperm(num_stuff)[:2]):
                sem_seg[row * size[0] // 3 : (row + 1) * size[0] // 3] = label
        sample.gt_sem_seg = PixelData(sem_seg=sem_seg[None])
    return sample


def random_rectangles(num: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Boxes (num, 4) xyxy in whole pixels and their bool masks (num, h, w)."""
    h, w = size
    start = (torch.rand(num, 2) * 0.6 * torch.tensor([w, h])).floor()
    end = start + (torch.rand(num, 2) * 0.3 * torch.tensor([w, h])).floor() + 2
    y, x = torch.arange(h)[:, None], torch.arange(w)
    x1, y1 = start[..., None, None].unbind(1)
    x2, y2 = end[..., None, None].unbind(1)
    return torch.cat([start, end], 1), (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
