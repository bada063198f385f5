"""Several views of an image for the config of a run: test-time augmentation, and tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from mmmaskdino.datasets.pipelines import dataset_with_pipeline, prediction_dataset, step_name
from mmmaskdino.tile_grid import check_tiles

SCALES = (0.75, 1.0, 1.25)
FLIPS = ('horizontal', 'vertical', 'diagonal')
MODELS = dict(mmdet='MaskDINOTTA', mmseg='MaskDINOSegTTA')
FLIP_KEYS = ('flip', 'flip_direction')
PACKING = ('PackDetInputs', 'PackSegInputs')


def enable_tta(cfg: Config, scales: Sequence[float] | None = None, flips: Sequence[str] | None = None) -> None:
    """Let a run test with several views of each image.

    The config may have `tta_model` (`MaskDINOTTA` or `MaskDINOSegTTA` with their arguments) and `tta_pipeline`, as is
    usual in OpenMMLab; what it has not is made from the test pipeline.

    Args:
        cfg: Changed in place: its model is wrapped, its test pipeline replaced.
        scales: Factors of the test pipeline's size; None for 0.75, 1 and 1.25.
        flips: Directions besides none, of 'horizontal', 'vertical', 'diagonal'; None for 'horizontal'.

    Raises:
        ValueError: The config has a `tta_pipeline`, but scales or flips are given, or one of them cannot be.
    """
    dataset = prediction_dataset(cfg)
    if 'tta_pipeline' in cfg:
        if scales is not None or flips is not None:
            raise ValueError('the config has a tta_pipeline, which says scales and flips; change it there')
        pipeline = cfg.tta_pipeline
    else:
        pipeline = tta_pipeline(dataset.pipeline, scales, flips)
    dataset.pipeline = pipeline
    cfg.model = ConfigDict(**tta_model(cfg), module=cfg.model)


def tta_model(cfg: Config) -> dict[str, Any]:
    """Config of the wrapper, without the model in it."""
    return dict(cfg.get('tta_model') or dict(type=MODELS[cfg.default_scope]))


def tta_pipeline(
    pipeline: Sequence[dict], scales: Sequence[float] | None = None, flips: Sequence[str] | None = None
) -> list[dict]:
    """Make several views of what a test pipeline makes one of.

    Args:
        pipeline: `LoadImageFromFile`, `AntialiasedResize` or mmdet's `Resize` if the images are resized, annotations,
            packing.
        scales: As of :func:`enable_tta`.
        flips: As of :func:`enable_tta`.

    Returns:
        `LoadImageFromFile` and `TestTimeAug`.

    Raises:
        ValueError: A scale is not positive and finite, a direction unknown, or the pipeline of another form.
    """
    scales, flips = SCALES if scales is None else scales, FLIPS[:1] if flips is None else flips
    unknown = sorted(set(flips) - set(FLIPS))
    if unknown or not scales or not all(0 < scale < math.inf for scale in scales):
        raise ValueError(
            f'expected finite scales above 0 and flips of {", ".join(FLIPS)}, got {list(scales)}, {list(flips)}'
        )
    steps = [dict(step) for step in pipeline]
    if step_name(steps[0]) != 'LoadImageFromFile' or step_name(steps[-1]) not in PACKING:
        names = [step['type'] for step in steps]
        raise ValueError(
            f'the test pipeline must begin with LoadImageFromFile and end with the packing, got {names}; write a '
            'tta_pipeline with TestTimeAug'
        )
    resize = next((step for step in steps if step_name(step) in ('AntialiasedResize', 'Resize')), None)
    rest = [step for step in steps[1:-1] if step is not resize]
    no_flip = [dict(type='RandomFlip', prob=0.0)]
    views = [
        [_scaled(resize, scale) for scale in scales],
        no_flip + [dict(type='RandomFlip', prob=1.0, direction=direction) for direction in flips],
        *([step] for step in rest),  # annotations after the flip: results are compared upright
        [_with_flip_keys(steps[-1])],
    ]
    return [steps[0], dict(type='TestTimeAug', transforms=views)]


def enable_tiles(cfg: Config, tiles: int, overlap: float) -> None:
    """Let a run test each image in tiles, with several views of each if :func:`enable_tta` was called before.

    The config may have `tiles_model`, `MaskDINOTiles` with its arguments.

    Args:
        cfg: Changed in place: its model is wrapped, its test pipeline replaced, and images come one by one.
        tiles: Side of the tiles in pixels.
        overlap: Least share of a tile that its neighbour shows, too.

    Raises:
        ValueError: Tiles or overlap are out of range, or the pipeline is of another form.
    """
    check_tiles(tiles, overlap)
    dataset = dataset_with_pipeline(cfg.test_dataloader.dataset)
    dataset.pipeline = tiles_pipeline(dataset.pipeline, tiles, overlap)
    cfg.test_dataloader.batch_size = 1
    cfg.model = ConfigDict(**dict(cfg.get('tiles_model') or dict(type='MaskDINOTiles')), module=cfg.model)


def tiles_pipeline(pipeline: Sequence[dict], tiles: int, overlap: float) -> list[dict]:
    """Make tiles of what a test pipeline makes one view of, or several.

    Args:
        pipeline: `LoadImageFromFile`, annotations, other steps, and packing or `TestTimeAug`.
        tiles: As of :func:`enable_tiles`.
        overlap: As of :func:`enable_tiles`.

    Returns:
        `LoadImageFromFile`, annotations, and `CutTiles` with the other steps.

    Raises:
        ValueError: The pipeline is of another form.
    """
    steps, last = [dict(step) for step in pipeline[:-1]], dict(pipeline[-1])
    annotations = [step for step in steps[1:] if step_name(step).startswith('Load')]
    packing = last
    if step_name(last) == 'TestTimeAug':
        slots = [list(slot) for slot in last['transforms']]
        annotations += [step for slot in slots for step in slot if step_name(step).startswith('Load')]
        slots = [[step for step in slot if not step_name(step).startswith('Load')] for slot in slots]
        packing, last = slots[-1][-1], dict(last, transforms=[slot for slot in slots if slot])
    names = [step_name(step) for step in (*steps, packing)]
    if names[0] != 'LoadImageFromFile' or names[-1] not in PACKING:
        raise ValueError(
            f'the test pipeline must begin with LoadImageFromFile and end with the packing, got {names}; tiles are cut '
            'between the two'
        )
    transforms = [step for step in steps[1:] if step not in annotations] + [last]
    cut = dict(type='CutTiles', tiles=tiles, overlap=overlap, transforms=transforms, packing=packing)
    return [steps[0], *annotations, cut]


def _scaled(resize: dict | None, scale: float) -> dict:
    """The resizing step, to the scaled size."""
    if resize is None:
        return dict(type='AntialiasedResize', scale_factor=scale, keep_ratio=True)
    if resize.get('scale') is None:
        raise ValueError(f'the {resize["type"]} of the test pipeline needs scale=(width, height), got {resize}')
    return dict(resize, scale=tuple(round(scale * length) for length in resize['scale']))


def _with_flip_keys(packing: dict) -> dict:
    """The packing, with the metainfo that tells how an image was flipped."""
    if 'meta_keys' not in packing:
        return packing
    return dict(packing, meta_keys=tuple(dict.fromkeys((*packing['meta_keys'], *FLIP_KEYS))))
