"""A short config that trains on a dataset."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config

import mmmaskdino
from mmmaskdino.datasets.files import DataError

from .checking import SplitSummary
from .comparison import compare_parts, find_unused_classes

CONFIGS = Path(mmmaskdino.__file__).parent / '.mim' / 'configs' / 'maskdino'
BASES = dict(
    instance='maskdino_r50_coco_instance_12e.py',
    detection='maskdino_r50_coco_detection.py',
    panoptic='maskdino_r50_coco_panoptic_12e.py',
    semantic='maskdino_r50_ade20k_semantic.py',
)
# Memory of a training step in float32, in GiB: what does not depend on the batch (weights, gradients, AdamW, the
# context of CUDA), and what an image adds, on its own and per megapixel. The latter from peaks that
# mmmaskdino.analysis.memory measured on the CPU for maskdino_r50_coco_instance.py with 20 objects: 2377 MiB at
# 512 x 512 and 4294 MiB at 768 x 768.
FIXED_GIB, IMAGE_GIB, MEGAPIXEL_GIB = 2.0, 0.9, 5.8
IMAGE_SIDES = (1024, 768, 512)  # of training images; the first that fits is taken
SEMANTIC_SIDE = 512
BASE_BATCH_SIZE, BASE_LR = 16, 1e-4  # of the published recipes
MIN_ITERS, MIN_EPOCHS = 5000, 12
NUM_EVALUATIONS = 10
MAX_LINE = 120
_PIPELINE = ', pipeline=train_pipeline'
_BOXES = ', with_masks=False'


@dataclass
class TrainingPlan:
    """What the config is written for.

    Attributes:
        gpu_memory: Of each GPU in GiB.
        num_gpus: GPUs.
        epochs: None for 12, or more where those are fewer than 5000 iterations.
        load_from: Weights to start from.
        base: Config to inherit from; None for the R50 one of the dataset's kind.
        image_side: Of the square training images in pixels; None for 1024, or less where memory is short. Semantic
            data keep the recipe's crops of 512.
    """

    gpu_memory: float = 24.0
    num_gpus: int = 1
    epochs: int | None = None
    load_from: str | None = None
    base: Path | None = None
    image_side: int | None = None


def write_config(summaries: Sequence[SplitSummary], plan: TrainingPlan, out: Path) -> str:
    """Write a config for a dataset.

    Args:
        summaries: Of its parts, all of one kind: the one named 'train' (or the only one) is trained on, that named
            'val' (or 'test', or else the training data) evaluated. Classes without an object in any part are left out.
        plan: What it is written for.
        out: File to write; its folder is made.

    Returns:
        The text.

    Raises:
        DataError: The parts have different classes, or one has problems.
        ValueError: The plan cannot be followed.
    """
    train, val = _choose(summaries)
    for summary in (train, val):
        if summary.problems:
            raise DataError(
                f'{summary.split.source}: {summary.num_problems} problem(s), the first: {summary.problems[0]}; '
                'mmmaskdino data check shows all'
            )
    if train.split.kind == 'semantic':  # without names, a part may lack the last classes
        train.classes = val.classes = max(train.classes, val.classes, key=len)
    problems = compare_parts([train, val])
    if problems:
        raise DataError('\n'.join(problems))
    if train.split.kind == 'instance':
        unused = find_unused_classes(summaries)
        train = replace(train, classes=tuple(name for name in train.classes if name not in unused))
    kind = train.split.kind if train.has_masks else 'detection'
    base = plan.base or CONFIGS / BASES[kind]
    if not base.is_file():
        raise ValueError(f'the config to inherit from does not exist: {base}')
    if kind == 'detection' and plan.base:
        _check_for_boxes(base)
    side, batch = choose_size(kind, plan)
    text = '\n'.join(
        [
            f'# {kind.capitalize()} data of {train.split.root}: {train.num_images} training images, '
            f'{len(train.classes)} classes.',
            f'_base_ = {_path_from(base, out)!r}',
            '',
            f'data_root = {_folder(str(train.split.root))!r}',
            *dict(panoptic=_panoptic_lines, semantic=_semantic_lines).get(kind, _instance_lines)(
                train, val, batch, side
            ),
            '',
            *_schedule_lines(train.num_images, batch, plan),
            '',
        ]
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding='utf-8')
    return text


def _check_for_boxes(base: Path) -> None:
    """Refuse a config that trains masks where only boxes are trained on."""
    pipeline = Config.fromfile(base).get('train_pipeline', [])
    if any(step.get('with_mask') for step in pipeline):
        raise ValueError(
            f'{base} trains masks, and the data are taken as boxes alone; leave --base away, or name a config that '
            f'trains boxes, as {BASES["detection"]} does'
        )


def _choose(summaries: Sequence[SplitSummary]) -> tuple[SplitSummary, SplitSummary]:
    """The parts to train on and to evaluate."""
    by_name = {summary.split.name: summary for summary in summaries}
    train = by_name.get('train') or (summaries[0] if len(summaries) == 1 else None)
    if train is None:
        raise DataError(
            f"none of the parts {sorted(by_name)} is called 'train'; name files or folders train and val, or give one "
            'annotation file as PATH (and another with --val)'
        )
    val = by_name.get('val') or by_name.get('test') or train
    for name in {train.split.name, val.split.name}:
        sources = [str(summary.split.source) for summary in summaries if summary.split.name == name]
        if len(sources) > 1:
            raise DataError(
                f"more than one part is called '{name}': {', '.join(sources)}; give one annotation file as PATH and "
                'another with --val'
            )
    return train, val


def _instance_lines(train: SplitSummary, val: SplitSummary, batch: int, side: int) -> list[str]:
    parts = [
        f'{name} = dict(ann_file={s.split.ann_file!r}, data_prefix=dict(img={_folder(s.split.image_dir)!r}))'
        for name, s in (('train', train), ('val', val))
    ]
    return [
        _class_line('classes', train.classes),
        f'shared = dict(data_root=data_root, metainfo=dict(classes=classes){_BOXES * (not train.has_masks)})',
        *parts,
        f'model = dict(panoptic_head=dict(num_things_classes={len(train.classes)}))',
        *_pipeline_lines(side),
        *_loader_lines(batch, ', filter_cfg=None' + _PIPELINE * (side != IMAGE_SIDES[0])),
        "val_evaluator = dict(ann_file=data_root + val['ann_file'])",
        'test_evaluator = val_evaluator',
    ]


def _panoptic_lines(train: SplitSummary, val: SplitSummary, batch: int, side: int) -> list[str]:
    things, stuff = train.classes[: train.num_things], train.classes[train.num_things :]
    parts = []
    for name, split in (('train', train.split), ('val', val.split)):
        prefix = f'dict(img={_folder(split.image_dir)!r}, seg={_folder(split.seg_dir or "")!r})'
        parts.append(f'{name} = dict(ann_file={split.ann_file!r}, data_prefix={prefix})')
    counts = f'num_things_classes={len(things)}, num_stuff_classes={len(stuff)}'
    return [
        _class_line('things', things),
        _class_line('stuff', stuff),
        'metainfo = dict(classes=things + stuff, thing_classes=things, stuff_classes=stuff)',
        *parts,
        f'model = dict(panoptic_head=dict({counts}))',
        *_pipeline_lines(side),
        *_loader_lines(batch, _PIPELINE * (side != IMAGE_SIDES[0]), 'data_root=data_root, metainfo=metainfo'),
        "files = dict(ann_file=data_root + val['ann_file'], seg_prefix=data_root + val['data_prefix']['seg'])",
        "val_evaluator = [dict(type='PanopticQualityMetric', **files), dict(type='PanopticIoUMetric', **files)]",
        'test_evaluator = val_evaluator',
    ]


def _semantic_lines(train: SplitSummary, val: SplitSummary, batch: int, side: int) -> list[str]:
    parts = []
    for name, split in (('train', train.split), ('val', val.split)):
        prefix = f'dict(img_path={split.image_dir!r}, seg_map_path={split.seg_dir!r})'
        parts.append(f'{name} = dict(data_prefix={prefix})')
    suffixes = f'img_suffix={train.split.img_suffix!r}, seg_map_suffix={train.split.seg_suffix!r}'
    kind = f"type='CheckedSegDataset', data_root=data_root, metainfo=dict(classes=classes), {suffixes}"
    return [
        _class_line('classes', train.classes),
        f'shared = dict({kind})',
        *parts,
        f'model = dict(decode_head=dict(num_classes={len(train.classes)}))',
        *_loader_lines(batch),
    ]


def _loader_lines(batch: int, train_only: str = '', shared: str = '**shared') -> list[str]:
    return [
        f'train_dataloader = dict(batch_size={batch}, dataset=dict({shared}, **train{train_only}))',
        f'val_dataloader = dict(dataset=dict({shared}, **val))',
        'test_dataloader = val_dataloader',
    ]


def _schedule_lines(num_images: int, batch: int, plan: TrainingPlan) -> list[str]:
    total = batch * plan.num_gpus
    epochs = plan.epochs or max(MIN_EPOCHS, math.ceil(MIN_ITERS * total / num_images))
    iters = math.ceil(epochs * num_images / total)
    interval = max(1, iters // NUM_EVALUATIONS)
    drop = max(1, round(0.9 * iters))
    return [
        f'# {epochs} epochs at batch {batch} on {plan.num_gpus} GPU(s) of {plan.gpu_memory:g} GiB.',
        f'max_iters = {iters}',
        f'optim_wrapper = dict(optimizer=dict(lr={BASE_LR * total / BASE_BATCH_SIZE:.3g}))',
        f"param_scheduler = [dict(type='MultiStepLR', by_epoch=False, end=max_iters, milestones=[{drop}], gamma=0.1)]",
        f'train_cfg = dict(max_iters=max_iters, val_interval={interval})',
        f'default_hooks = dict(checkpoint=dict(interval={interval}))',
        *([f'load_from = {plan.load_from!r}'] if plan.load_from else []),
    ]


def choose_size(kind: str, plan: TrainingPlan) -> tuple[int, int]:
    """Side of the training images in pixels, and how many of them a training step takes on each GPU.

    Args:
        kind: 'instance', 'detection', 'panoptic' or 'semantic'.
        plan: Of it, the memory and the side, if that is given.

    Raises:
        ValueError: Not even one image fits.
    """
    sides = (SEMANTIC_SIDE,) if kind == 'semantic' else (plan.image_side,) if plan.image_side else IMAGE_SIDES
    for side in sides:
        needed = IMAGE_GIB + MEGAPIXEL_GIB * side**2 / 1e6
        fitting = int((plan.gpu_memory - FIXED_GIB) / needed)
        if fitting >= 1:
            return side, min(fitting, BASE_BATCH_SIZE)
    raise ValueError(
        f'a training step of the R50 model needs about {FIXED_GIB + needed:.1f} GiB for one image of {side} x {side} '
        f'pixels, got {plan.gpu_memory:g} (--gpu-memory); smaller images (--image-size) need less'
    )


def _pipeline_lines(side: int) -> list[str]:
    """The base's pipeline for images of another size than its own."""
    if side == IMAGE_SIDES[0]:
        return []
    steps = [
        '*_base_.train_pipeline[:3]',
        f'dict(_base_.train_pipeline[3], scale=({side}, {side}))',
        f'dict(_base_.train_pipeline[4], crop_size=({side}, {side}))',
        '_base_.train_pipeline[5]',
        f'dict(_base_.train_pipeline[6], size=({side}, {side}))',
        '_base_.train_pipeline[7]',
    ]
    return [f'train_pipeline = [{", ".join(steps)}]']


def _class_line(name: str, classes: Sequence[str]) -> str:
    line = f'{name} = {tuple(classes)!r}'
    return line if len(line) <= MAX_LINE else f'{line}  # fmt: skip'


def _folder(path: str) -> str:
    return f'{path.rstrip("/")}/' if path else ''


def _path_from(base: Path, out: Path) -> str:
    """The base's path as `_base_` needs it: relative within one project or folder, else absolute."""
    base, folder = base.resolve(), out.resolve().parent
    near = os.path.commonpath([base, folder])
    return os.path.relpath(base, folder) if near in map(str, base.parents[:3]) else str(base)
