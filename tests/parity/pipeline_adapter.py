"""What the pipelines of the shipped configs make of a case of the recorded ones, for the `check.py` beside these.

Pipelines are those of the configs, without an option set. Only what is drawn at random is replaced by what the case
says: methods of the built transforms, which these call for it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections import defaultdict
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.dataset import BaseDataset, Compose
from mmengine.registry import DATASETS, DefaultScope

import mmmaskdino  # noqa: F401  registers the datasets and transforms

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'maskdino'
INSTANCE = 'maskdino_r50_coco_instance.py'
PANOPTIC = 'maskdino_r50_coco_panoptic.py'
SEMANTIC = 'maskdino_r50_ade20k_semantic.py'


def instance_sample(case: dict) -> dict:
    """The targets of the instance recipe."""
    dataset = _dataset(INSTANCE, ann_file=case['annotation_file'], img=_folder(case['image_file']))
    results = _run(dataset, case)
    return _sample(results, _things(results), dataset.cat_ids)


def panoptic_sample(case: dict) -> dict:
    """The targets of the panoptic recipe: things by their masks, stuff by the label map."""
    folders = dict(img=_folder(case['image_file']), seg=_folder(case['segments_file']))
    dataset = _dataset(PANOPTIC, ann_file=case['annotation_file'], **folders)
    results = _run(dataset, case)
    objects = [dict(thing, isthing=True) for thing in _things(results)]
    # The label map has one object for all stuff of a class, the reference one for each segment.
    ids = defaultdict(list)
    for segment in results['segments_info']:
        ids[segment['category']].append(segment['id'])
    for label in np.unique(results['gt_seg_map']).tolist():
        if len(dataset.metainfo['thing_classes']) <= label < len(dataset.metainfo['classes']):
            (segment_id,) = ids[label]
            mask = results['gt_seg_map'] == label
            box = BitmapMasks(mask[None], *mask.shape).get_bboxes('hbox').tensor[0].tolist()
            objects.append(dict(id=segment_id, label=label, mask=mask, box=box, isthing=False))
    return _sample(results, objects, dataset.cat_ids)


def semantic_sample(case: dict) -> dict:
    """The label map of the semantic recipe."""
    folders = dict(img_path=_folder(case['image_file']), seg_map_path=_folder(case['label_file']))
    results = _run(_dataset(SEMANTIC, **folders), case)
    return dict(_sample(results), label_map=results['gt_seg_map'])


def test_image(case: dict) -> np.ndarray:
    """The image that a test pipeline hands on, RGB."""
    cfg = _config(SEMANTIC if case['pipeline'] == 'ade20k' else INSTANCE)
    steps = [dict(step) for step in cfg.test_pipeline if step['type'] != 'LoadAnnotations']
    if case['pipeline'] == 'short150':  # a size that no config has
        steps[1]['scale'] = (case['longest'], case['short'])
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        packed = Compose(steps)(dict(img_path=case['image_file'], img_id=0))
    return packed['inputs'].permute(1, 2, 0).numpy()[..., ::-1]


test_image.__test__ = False  # for pytest, which takes it for one


def colour_image(case: dict) -> np.ndarray:
    """The image after the colour change of the semantic recipe, RGB."""
    cfg = _config(SEMANTIC)
    steps = [step for step in cfg.train_pipeline if step['type'] in ('LoadImageFromFile', 'PhotoMetricDistortion')]
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        change_colours = Compose(steps)
    with mock.patch.object(inspect.getmodule(type(change_colours.transforms[1])), 'random', _Colours(case)):
        return change_colours(dict(img_path=case['image_file']))['img'][..., ::-1]


class _Colours:
    """Stands in for numpy's random numbers, in the order in which mmseg's `PhotoMetricDistortion` asks for them."""

    def __init__(self, case: dict) -> None:
        contrast, others = [case['contrast']], [case['saturation'], case['hue']]
        changes = contrast + others if case['contrast_first'] else others + contrast
        coins = [int(value is not None) for value in (case['brightness'], *changes)]
        self._coins = iter([coins[0], int(case['contrast_first']), *coins[1:]])
        self._values = iter([value for value in (case['brightness'], *changes) if value is not None])

    def randint(self, low: int, high: int | None = None) -> Any:
        """A coin, which has one argument, or the change of hue, which has two."""
        return next(self._coins if high is None else self._values)

    def uniform(self, low: float, high: float) -> float:
        """The change of brightness, contrast or saturation."""
        return next(self._values)


def _run(dataset: BaseDataset, case: dict) -> dict:
    """What the steps before the packing make of an image, with the random choices of a case."""
    results = dataset.get_data_info(_index(dataset)[Path(case['image_file']).name])
    for transform in dataset.pipeline.transforms[:-1]:
        name = type(transform).__name__
        if name == 'PhotoMetricDistortion':
            continue  # the cases are without it
        if name == 'Pad':
            results['valid'] = results['img'].shape[:2]
        with contextlib.ExitStack() as stack:
            for method, value in _choices(transform, case).items():
                stack.enter_context(mock.patch.object(transform, method, functools.partial(_given, value)))
            results = transform(results)
    return results


def _choices(transform: Any, case: dict) -> dict[str, Any]:
    """The methods with which a transform draws random numbers, and what they return in the case."""
    (x, y), (height, width) = case['crop'], case['resized']
    choices = dict(_choose_direction='horizontal' if case['flip'] else None)  # RandomFlip
    if 'square' in case:
        choices['_random_scale'] = (case['square'], case['square'])  # LargeScaleJitter
        choices['_rand_offset'] = (y, x)  # RandomCrop of mmdet
    else:
        size = (case['longest'], case['short'])
        if size not in getattr(transform, 'scales', [size]):
            raise ValueError(f'{size} is not among the sizes of the config, {transform.scales}')
        choices['_random_select'] = (size, 0)  # RandomChoiceResize
        bottom, right = min(y + case['canvas'][0], height), min(x + case['canvas'][1], width)
        choices['crop_bbox'] = (y, bottom, x, right)  # RandomCrop of mmseg
    return {method: value for method, value in choices.items() if hasattr(transform, method)}


def _given(value: Any, *args: Any) -> Any:
    return value


def _things(results: dict) -> list[dict]:
    masks, boxes = results['gt_masks'], results['gt_bboxes'].tensor.tolist()
    rows = zip(masks.annotation_ids, results['gt_bboxes_labels'].tolist(), masks.masks, boxes, strict=True)
    return [dict(id=name, label=label, mask=mask.astype(bool), box=box) for name, label, mask, box in rows]


def _sample(results: dict, objects: list[dict] = (), cat_ids: list[int] = ()) -> dict:
    objects = [dict(x, category_id=cat_ids[x['label']]) for x in objects]
    return dict(image=results['img'][..., ::-1], valid=results['valid'], objects=objects)


@functools.cache
def _config(name: str) -> Config:
    return Config.fromfile(CONFIGS / name)


@functools.cache
def _dataset(config: str, ann_file: str = '', **folders: str) -> BaseDataset:
    """The training data of a config, in other files."""
    cfg = _config(config)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return DATASETS.build(
            dict(cfg.train_dataloader.dataset, data_root=None, ann_file=ann_file, data_prefix=folders)
        )


@functools.cache
def _index(dataset: BaseDataset) -> dict[str, int]:
    return {Path(dataset.get_data_info(i)['img_path']).name: i for i in range(len(dataset))}


def _folder(path: str) -> str:
    return str(Path(path).parent)
