"""A short config that trains on a dataset."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from mmmaskdino.apis.plain_config import PlainConfig
from mmmaskdino.datasets.files import DataError
from mmmaskdino.hub.table import configs_folder, shipped_configs
from mmmaskdino.memory_model import TrainingMemory
from mmmaskdino.plain_text import literal

from .base_config import BaseConfig
from .checking import SplitSummary
from .comparison import choose_parts, find_differences, find_unused_classes
from .small_recipe import SmallRecipe

BASES = dict(
    instance='maskdino_r50_coco_instance_12e.py',
    detection='maskdino_r50_coco_detection.py',
    panoptic='maskdino_r50_coco_panoptic_12e.py',
    semantic='maskdino_r50_ade20k_semantic.py',
)
# Of maskdino_r50_coco_instance.py in float32, as tools/analysis_tools/get_memory.py measures it.
R50_MEMORY = TrainingMemory(fixed=838_796_452, per_image=218_327_871, per_pixel=3549.595)
SMALL_BASES = dict(
    instance='maskdino_efficientnet-lite0_coco_instance.py', panoptic='maskdino_efficientnet-lite0_coco_panoptic.py'
)
SMALLER_SIDES = (1024, 768, 512)  # of training images where those of the base do not fit; the first that does
SIDES_OF_FILES = (256, 384, 512, 768)  # where the files are small: the first that has twice their side
MIN_SIDE = 32  # the stride of the coarsest features
VOID = 255  # the label of pixels without class in the recipes
BASE_BATCH_SIZE, BASE_LR = 16, 1e-4  # of the published recipes
MIN_ITERS, MIN_EPOCHS = 5000, 12
NUM_EVALUATIONS = 10
STEPS_OF_EVALUATION, STEPS_OF_CHECKPOINT = 1000, 250  # of the small model: about, at most
MAX_LINE = 120
BASE_PIPELINE = '_base_.train_dataloader.dataset.pipeline'
_PIPELINE = ', pipeline=train_pipeline'
_BOXES = ', with_masks=False'
_HEAD = '**head, '
_Changes = dict[str, dict[str, Any]]


@dataclass
class TrainingPlan:
    """What the config is written for.

    Attributes:
        gpu_memory: Of each GPU in GiB.
        num_gpus: GPUs.
        epochs: None for 12, or more where those are fewer than 5000 iterations.
        load_from: Weights to start from.
        base: Config to inherit from, a file or a name of the model zoo; None for the R50 one of the dataset's kind.
        image_side: The longer side of the training images in pixels; None for that of the base, or less where memory is
            short.
        small: Sizes and numbers of the small model, to train that; memory, epochs and side are not looked at then.
        flat: Whether all that the base says is written out, so that the config needs no other.

    Raises:
        ValueError: A number is too small.
    """

    gpu_memory: float = 24.0
    num_gpus: int = 1
    epochs: int | None = None
    load_from: str | None = None
    base: Path | None = None
    image_side: int | None = None
    small: SmallRecipe | None = None
    flat: bool = False

    def __post_init__(self) -> None:
        if self.small and self.base:
            raise ValueError('--small inherits from a config of its own; leave out --base or --small')
        for name, value, least in (
            ('--gpus', self.num_gpus, 1),
            ('--epochs', self.epochs, 1),
            ('--image-size', self.image_side, MIN_SIDE),
        ):
            if value is not None and value < least:
                raise ValueError(f'{name} must be at least {least}, got {value}')
        if not 0 < self.gpu_memory < math.inf:
            raise ValueError(f'--gpu-memory must be above 0, got {self.gpu_memory:g}')


class Part(NamedTuple):
    """Some lines of a config and what they must be once it is read."""

    lines: list[str]
    values: dict[str, Any]
    """By dotted key."""


def write_config(summaries: Sequence[SplitSummary], plan: TrainingPlan, out: Path) -> str:
    """Write a config for a dataset. It is read back, and is there only if it says what it should.

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
    if out.suffix != '.py':
        raise ValueError(f'a config is a Python file, expected a name that ends with .py, got {out}')
    train, val = choose_parts(summaries)
    _check_parts(train, val)
    if train.split.kind == 'instance':
        unused = find_unused_classes(summaries)
        train = replace(train, classes=tuple(name for name in train.classes if name not in unused))
    kind = train.split.kind if train.has_masks else 'detection'
    base = BaseConfig(plan.base or configs_folder() / (_small_base(kind) if plan.small else BASES[kind]))
    base.check_kind(kind)
    recipe = plan.small
    if recipe:
        side, batch, schedule = recipe.side, recipe.batch, _small_schedule_part(recipe, plan)
    else:
        file_size = max(((h, w) for w, h in train.sizes), key=math.prod, default=(1, 1))
        side, batch = choose_size(plan, base, file_size)
        schedule = _schedule_part(train.num_images, batch, plan)
    write = dict(panoptic=_panoptic_part, semantic=_semantic_part).get(kind, _instance_part)
    part = write(train, val, batch, _pipeline_changes(base, side, train, recipe), base, recipe)
    steps = f'; {batch} images in a step of each of {plan.num_gpus} process(es)' * bool(recipe)
    root = _folder(str(train.split.root))
    text = '\n'.join(
        [
            f'# {kind.capitalize()} data: {train.num_images} training images, {len(train.classes)} classes{steps}.',
            f'_base_ = {_base_from(base.path, out)}',
            f'data_root = {literal(root)}',
            *part.lines,
            '',
            *schedule.lines,
            '',
        ]
    )
    roots = {f'{name}_dataloader.dataset.data_root': root for name in ('train', 'val', 'test')}
    return _write_checked(text, out, {**roots, **part.values, **schedule.values}, base.path, plan.flat)


def _write_checked(text: str, out: Path, values: Mapping[str, Any], base: Path, flat: bool) -> str:
    """Write the file if mmengine reads these values (by dotted key) from it; the text, with all of the base if flat."""
    if '{{' in text:
        raise ValueError(f'{out} is not written: mmengine would replace a part of it ({{{{ in the text)')
    out.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: the path of the base is relative to it.
    trial = out.with_name(f'.{out.stem}_{os.getpid()}.py')
    try:
        cfg = _read_back(text, trial, out, base)
        if flat:
            text = text.partition('\n')[0] + '\n' + PlainConfig.of(cfg).pretty_text
            cfg = _read_back(text, trial, out, base)
        for key, wanted in values.items():
            found = cfg.to_dict()
            for step in key.split('.'):
                found = found.get(step) if isinstance(found, dict) else None
            if found != wanted:
                raise ValueError(
                    f'{out} is not written: with {base} as its base, {key} is read as {found!r}, expected {wanted!r}'
                )
        trial.replace(out)
    finally:
        trial.unlink(missing_ok=True)
    return text


def _read_back(text: str, trial: Path, out: Path, base: Path) -> Config:
    trial.write_text(text, encoding='utf-8')
    try:
        return Config.fromfile(str(trial), import_custom_modules=False)
    except Exception as error:  # the base is code of others
        raise ValueError(
            f'{out} is not written: with {base} as its base it cannot be read ({type(error).__name__}: {error})'
        ) from error


def _check_parts(train: SplitSummary, val: SplitSummary) -> None:
    for summary in (train, val):
        if summary.problems:
            raise DataError(
                f'{summary.split.source}: {summary.num_problems} problem(s), the first: {summary.problems[0]}; '
                'mmmaskdino data check shows all'
            )
    if train.split.kind == 'semantic':  # without names, a part may lack the last classes
        train.classes = val.classes = max(train.classes, val.classes, key=len)
    problems = find_differences([train, val])
    if problems:
        raise DataError('\n'.join(problems))


def _instance_part(
    train: SplitSummary, val: SplitSummary, batch: int, changes: _Changes, base: BaseConfig, recipe: SmallRecipe | None
) -> Part:
    parts = {
        name: dict(ann_file=s.split.ann_file, data_prefix=dict(img=_folder(s.split.image_dir)))
        for name, s in (('train', train), ('val', val))
    }
    masks = _BOXES * (not train.has_masks)
    lines = [
        _class_line('classes', train.classes),
        f'shared = dict(data_root=data_root, metainfo=dict(classes=classes{_replacing(base)}){masks})',
        *(f'{name} = {_call(values)}' for name, values in parts.items()),
        *_head_lines(recipe),
        f'model = dict(panoptic_head=dict({_HEAD * bool(recipe)}num_things_classes={len(train.classes)}))',
        *_pipeline_lines(changes, recipe),
        *_loader_lines(batch, ', filter_cfg=None' + _PIPELINE * bool(changes), is_small=bool(recipe)),
        "val_evaluator = dict(ann_file=data_root + val['ann_file'])",
        'test_evaluator = val_evaluator',
    ]
    values = {
        **_dataset_values(parts, dict(classes=train.classes)),
        'train_dataloader.dataset.filter_cfg': None,
        **({'train_dataloader.dataset.with_masks': False} if masks else {}),
        'val_evaluator.ann_file': _folder(str(val.split.root)) + val.split.ann_file,
        'model.panoptic_head.num_things_classes': len(train.classes),
        **_head_values(recipe),
    }
    return Part(lines, values)


def _panoptic_part(
    train: SplitSummary, val: SplitSummary, batch: int, changes: _Changes, base: BaseConfig, recipe: SmallRecipe | None
) -> Part:
    things, stuff = train.classes[: train.num_things], train.classes[train.num_things :]
    parts = {}
    for name, split in (('train', train.split), ('val', val.split)):
        prefix = dict(img=_folder(split.image_dir), seg=_folder(split.seg_dir or ''))
        parts[name] = dict(ann_file=split.ann_file, data_prefix=prefix)
    numbers = f'num_things_classes={len(things)}, num_stuff_classes={len(stuff)}'
    model = [f'panoptic_head=dict({_HEAD * bool(recipe)}{numbers})']
    if len(train.classes) > VOID:
        model.append(f'data_preprocessor=dict(seg_pad_value={len(train.classes)})')
    if not things:
        model.append('test_cfg=dict(instance_on=False)')
    metainfo = f'classes=things + stuff, thing_classes=things, stuff_classes=stuff{_replacing(base)}'
    lines = [
        _class_line('things', things),
        _class_line('stuff', stuff),
        f'metainfo = dict({metainfo})',
        *(f'{name} = {_call(values)}' for name, values in parts.items()),
        *_head_lines(recipe),
        f'model = dict({", ".join(model)})',
        *_pipeline_lines(changes, recipe),
        *_loader_lines(batch, _PIPELINE * bool(changes), 'data_root=data_root, metainfo=metainfo', bool(recipe)),
        "files = dict(ann_file=data_root + val['ann_file'], seg_prefix=data_root + val['data_prefix']['seg'])",
        "val_evaluator = [dict(type='PanopticQualityMetric', **files), dict(type='PanopticIoUMetric', **files)]",
        'test_evaluator = val_evaluator',
    ]
    metainfo = dict(classes=train.classes, thing_classes=things, stuff_classes=stuff)
    values = {
        **_dataset_values(parts, metainfo),
        'files.ann_file': _folder(str(val.split.root)) + val.split.ann_file,
        'files.seg_prefix': _folder(str(val.split.root)) + _folder(val.split.seg_dir or ''),
        'model.panoptic_head.num_things_classes': len(things),
        'model.panoptic_head.num_stuff_classes': len(stuff),
        **_head_values(recipe),
    }
    return Part(lines, values)


def _semantic_part(
    train: SplitSummary, val: SplitSummary, batch: int, changes: _Changes, base: BaseConfig, recipe: SmallRecipe | None
) -> Part:
    parts = {
        name: dict(
            img_suffix=split.img_suffix,
            seg_map_suffix=split.seg_suffix,
            data_prefix=dict(img_path=split.image_dir, seg_map_path=split.seg_dir),
        )
        for name, split in (('train', train.split), ('val', val.split))
    }
    metainfo = f'metainfo=dict(classes=classes{_replacing(base)})'
    model = [f'decode_head=dict(num_classes={len(train.classes)})']
    crop = next((step['crop_size'] for step in changes.values() if 'crop_size' in step), None)
    if crop and base.cfg.model.data_preprocessor.get('size'):
        model.append(f'data_preprocessor=dict(size={literal(crop)})')
    lines = [
        _class_line('classes', train.classes),
        f"shared = dict(type='CheckedSegDataset', data_root=data_root, {metainfo})",
        *(f'{name} = {_call(values)}' for name, values in parts.items()),
        f'model = dict({", ".join(model)})',
        *_pipeline_lines(changes),
        *_loader_lines(batch, _PIPELINE * bool(changes)),
    ]
    values = {
        **_dataset_values(parts, dict(classes=train.classes)),
        'model.decode_head.num_classes': len(train.classes),
    }
    return Part(lines, values)


def _replacing(base: BaseConfig) -> str:
    """Lets the metainfo take the place of the base's, of which a palette of other classes would stay."""
    return ', _delete_=True' * ('metainfo' in base.dataset)


def _dataset_values(parts: Mapping[str, dict], metainfo: dict[str, Any]) -> dict[str, Any]:
    """What the datasets must have once the config is read."""
    values = {}
    for loader, name in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        dataset = f'{loader}_dataloader.dataset'
        values[f'{dataset}.metainfo'] = metainfo
        for key, value in parts[name].items():
            nested = value.items() if isinstance(value, dict) else [(None, value)]
            values.update({f'{dataset}.{key}' + f'.{inner}' * bool(inner): text for inner, text in nested})
    return values


def _loader_lines(batch: int, train_only: str = '', shared: str = '**shared', is_small: bool = False) -> list[str]:
    val_only = ', pipeline=test_pipeline' * is_small
    return [
        f'train_dataloader = dict(batch_size={batch}, dataset=dict({shared}, **train{train_only}))',
        f'val_dataloader = dict(dataset=dict({shared}, **val{val_only}))',
        'test_dataloader = val_dataloader',
    ]


def _schedule_part(num_images: int, batch: int, plan: TrainingPlan) -> Part:
    total = batch * plan.num_gpus
    epochs = plan.epochs or max(MIN_EPOCHS, math.ceil(MIN_ITERS * total / num_images))
    iters = math.ceil(epochs * num_images / total)
    interval = max(1, iters // NUM_EVALUATIONS)
    drop = max(1, round(0.9 * iters))
    lines = [
        f'# {epochs} epochs at batch {batch} on {plan.num_gpus} GPU(s) of {plan.gpu_memory:g} GiB.',
        f'max_iters = {iters}',
        f'optim_wrapper = dict(optimizer=dict(lr={BASE_LR * total / BASE_BATCH_SIZE:.3g}))',
        f"param_scheduler = [dict(type='MultiStepLR', by_epoch=False, end=max_iters, milestones=[{drop}], gamma=0.1)]",
        f'train_cfg = dict(max_iters=max_iters, val_interval={interval})',
        f'default_hooks = dict(checkpoint=dict(interval={interval}))',
        *([f'load_from = {literal(plan.load_from)}'] if plan.load_from else []),
    ]
    values = {
        'train_dataloader.batch_size': batch,
        'train_cfg.max_iters': iters,
        'train_cfg.val_interval': interval,
        'default_hooks.checkpoint.interval': interval,
        **({'load_from': plan.load_from} if plan.load_from else {}),
    }
    return Part(lines, values)


def _small_base(kind: str) -> str:
    if kind not in SMALL_BASES:
        raise ValueError(
            f'the small model is for instances with masks and for panoptic data, these are {kind} data; mmmaskdino '
            'data config without --small writes a config for them'
        )
    return SMALL_BASES[kind]


def _head(recipe: SmallRecipe) -> dict[str, Any]:
    return dict(
        query_init=dict(num_queries=recipe.num_queries, proposal_sizes=list(recipe.proposal_sizes)),
        denoising=dict(num_queries=recipe.num_queries),
        criterion=dict(num_points=recipe.num_points, box_point_share=recipe.box_point_share),
    )


def _head_lines(recipe: SmallRecipe | None) -> list[str]:
    return [f'head = {_call(_head(recipe))}'] if recipe else []


def _head_values(recipe: SmallRecipe | None) -> dict[str, Any]:
    """What of the small model must be read back from the config."""
    if recipe is None:
        return {}
    head = _head(recipe)
    values = {f'{part}.{key}': value for part in head for key, value in head[part].items()}
    return {f'model.panoptic_head.{key}': value for key, value in values.items()}


def _small_schedule_part(recipe: SmallRecipe, plan: TrainingPlan) -> Part:
    interval = math.ceil(recipe.iters / max(1, round(recipe.iters / STEPS_OF_EVALUATION)))
    saving, warm_up = min(interval, STEPS_OF_CHECKPOINT), max(1, min(100, recipe.iters // 5))
    first, second = '_base_.param_scheduler[0]', '_base_.param_scheduler[1]'
    lines = [
        f'optim_wrapper = dict(optimizer=dict(lr={recipe.rate:.3g}))',
        f'param_scheduler = [dict({first}, end={warm_up}), dict({second}, begin={warm_up}, end={recipe.iters})]',
        f'train_cfg = dict(max_iters={recipe.iters}, val_interval={interval})',
        f'default_hooks = dict(checkpoint=dict(interval={saving}, max_keep_ckpts=1))',
        *([f'load_from = {literal(plan.load_from)}'] if plan.load_from else []),
    ]
    values = {
        'train_dataloader.batch_size': recipe.batch,
        'train_cfg.max_iters': recipe.iters,
        'default_hooks.checkpoint.interval': saving,
        **({'load_from': plan.load_from} if plan.load_from else {}),
    }
    return Part(lines, values)


def choose_size(plan: TrainingPlan, base: BaseConfig, file_size: tuple[int, int]) -> tuple[int | None, int]:
    """The longer side of the training images in pixels, and how many of them a training step takes on each GPU.

    Args:
        plan: Of it, the memory and the side, if that is given.
        base: The config to inherit from.
        file_size: (height, width) of the largest image: what counts for a base that leaves images as they are, and
            small images are not trained on at more than the size of the base that has twice their side.

    Returns:
        The side, None for what the base has, and the number.

    Raises:
        ValueError: Not even one image fits, or the base has no step that makes images of a size.
    """
    own = base.image_size or file_size
    sides = [None, *(side for side in SMALLER_SIDES if side < max(own))]
    enough = next((side for side in SIDES_OF_FILES if side >= 2 * max(file_size)), max(own))
    if enough < max(own):
        sides = [enough, *(side for side in SMALLER_SIDES if side < enough)]
    if base.image_size is None:
        if plan.image_side:
            raise ValueError(
                f'{base.path}: its training images keep the size of their files, so that --image-size '
                f'{plan.image_side} has nothing to set; leave it out, or inherit from a config with LargeScaleJitter, '
                'RandomCrop or the like (--base)'
            )
        sides = [None]
    elif plan.image_side:
        sides = [plan.image_side if plan.image_side != max(own) else None]
    for side in sides:
        height, width = (round(length * (side or max(own)) / max(own)) for length in own)
        fitting = R50_MEMORY.largest_batch(plan.gpu_memory, (height, width))
        if fitting >= 1:
            return side, min(fitting, BASE_BATCH_SIZE)
    fix = 'smaller images (--image-size) need less' if base.image_size else 'a base that resizes images needs less'
    needed = R50_MEMORY.smallest_gpu((height, width))
    raise ValueError(
        f'a training step of the R50 model needs about {needed:.1f} GiB for one image of {width} x {height} pixels, '
        f'got {plan.gpu_memory:g} (--gpu-memory); {fix}'
    )


def _pipeline_changes(
    base: BaseConfig, side: int | None, train: SplitSummary, recipe: SmallRecipe | None = None
) -> _Changes:
    """Other arguments for steps of the base's pipeline, by the type of the step."""
    changes = base.resized_steps(side) if side else {}
    if recipe:
        changes['LargeScaleJitter']['ratio_range'] = recipe.scales
        changes['AntialiasedResize'] = dict(scale=(side, side))
    void = len(train.classes)
    if train.split.kind == 'panoptic' and void > VOID:  # the label of void must not be that of a class
        for step in base.dataset.pipeline:
            if step.type.endswith('LoadCocoPanopticAnnotations'):
                changes.setdefault(step.type, {})['ignore_index'] = void
            elif isinstance(step.get('pad_val'), dict) and 'seg' in step.pad_val:
                changes.setdefault(step.type, {})['pad_val'] = {**step.pad_val, 'seg': void}
    return changes


def _pipeline_lines(changes: _Changes, recipe: SmallRecipe | None = None) -> list[str]:
    if not changes:
        return []
    names = ('train', 'test') if recipe else ('train',)
    bases = dict(train=BASE_PIPELINE, test=BASE_PIPELINE.replace('train_', 'val_'))
    steps = 'dict(step, **changes.get(step.type, dict()))'
    return [
        f'changes = {literal(changes)}',
        *(f'{name}_pipeline = [{steps} for step in {bases[name]}]' for name in names),
    ]


def _call(values: Mapping[str, Any]) -> str:
    """A dict as the call that recipes are written with."""
    items = (f'{key}={_call(value) if isinstance(value, dict) else literal(value)}' for key, value in values.items())
    return f'dict({", ".join(items)})'


def _class_line(name: str, classes: Sequence[str]) -> str:
    line = f'{name} = {literal(tuple(classes))}'
    return line if len(line) <= MAX_LINE else f'{line}  # fmt: skip'


def _folder(path: str) -> str:
    return f'{path.rstrip("/")}/' if path else ''


def _base_from(base: Path, out: Path) -> str:
    """The base as `_base_` needs it: of the package by its name, so that the config can be taken to another machine.

    mmengine takes what `_base_` says for code, and has names for configs of its own projects alone.
    """
    if shipped_configs().get(base.stem, Path()).resolve() == base.resolve():
        return f"str(__import__('mmmaskdino.hub').hub.find_config({literal(base.stem)}))"
    return literal(_path_from(base, out))


def _path_from(base: Path, out: Path) -> str:
    """The base's path as `_base_` needs it: relative within one project or folder, else absolute."""
    base, folder = base.resolve(), out.resolve().parent
    near = os.path.commonpath([base, folder])
    return os.path.relpath(base, folder) if near in map(str, base.parents[:3]) else str(base)
