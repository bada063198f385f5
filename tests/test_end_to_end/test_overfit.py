"""A small model learns a few real photographs by heart: what an untrained or broken model cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

pytestmark = pytest.mark.slow
NUM_IMAGES = 4
SIZE = (160, 160)


@pytest.fixture
def train(project_root: Path, tmp_path: Path) -> Callable[[str, dict, int], dict]:
    """Trains a config on its training images at a fixed size and evaluates it on the same."""

    def _train(name: str, changes: dict, iterations: int) -> dict:
        cfg = Config.fromfile(project_root / 'configs' / 'maskdino' / f'{name}.py')
        cfg.merge_from_dict(changes)
        cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
        cfg.val_dataloader.update(num_workers=0, persistent_workers=False)
        cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
        cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=iterations)
        cfg.param_scheduler = [
            dict(type='LinearLR', start_factor=0.01, begin=0, end=20, by_epoch=False),
            dict(type='CosineAnnealingLR', begin=20, end=iterations, by_epoch=False, eta_min=0),
        ]
        cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=10 * iterations)
        cfg.update(work_dir=str(tmp_path / 'work'), randomness=dict(seed=0), experiment_name=tmp_path.name)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            return run(cfg)

    return _train


def run(cfg: Config) -> dict:
    """The metrics after training."""
    scores = {}
    runner = Runner.from_cfg(cfg)
    evaluate = runner.val_evaluator.evaluate
    runner.val_evaluator.evaluate = lambda size: scores.update(evaluate(size)) or scores
    runner.train()
    return scores


def fewest_objects(annotations: list[dict], images: list[dict]) -> set:
    """Ids of the images with the fewest objects, but some."""
    counts = {image['id']: 0 for image in images}
    for annotation in annotations:
        counts[annotation['image_id']] += 1
    some = sorted((count, image_id) for image_id, count in counts.items() if count)
    return {image_id for _, image_id in some[:NUM_IMAGES]}


def write_subset(source: Path, target: Path, image_ids: set) -> str:
    """An annotation file with some of the images."""
    content = json.loads(source.read_text())
    content['images'] = [image for image in content['images'] if image['id'] in image_ids]
    content['annotations'] = [entry for entry in content['annotations'] if entry['image_id'] in image_ids]
    target.write_text(json.dumps(content))
    return str(target)


def test_coco_panoptic_and_instances(train, shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / 'coco_tiny'
    instances = root / 'annotations' / 'instances_train2017.json'
    content = json.loads(instances.read_text())
    image_ids = fewest_objects(content['annotations'], content['images'])
    instances = write_subset(instances, tmp_path / 'instances.json', image_ids)
    panoptic = write_subset(root / 'annotations' / 'panoptic_train2017.json', tmp_path / 'panoptic.json', image_ids)
    pngs = str(root / 'annotations' / 'panoptic_train2017')
    load = [dict(type='LoadImageFromFile'), dict(type='LoadCocoPanopticAnnotations')]
    resize = dict(type='Resize', scale=SIZE, keep_ratio=False)
    meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape')
    data = dict(data_root=str(root), ann_file=panoptic, data_prefix=dict(img='train2017/', seg=pngs))
    changes = {
        'train_dataloader.dataset': data
        | dict(pipeline=[*load, dict(type='RandomFlip', prob=0.5), resize, dict(type='PackDetInputs')]),
        'val_dataloader.dataset': data
        | dict(pipeline=[load[0], resize, dict(type='PackDetInputs', meta_keys=meta_keys)]),
        'val_evaluator': [
            dict(type='PanopticQualityMetric', ann_file=panoptic, seg_prefix=pngs),
            dict(type='CocoMetric', ann_file=instances, metric='segm'),
        ],
        'model.panoptic_head.query_init.num_queries': 30,
    }
    scores = train('maskdino_r18-small_coco_panoptic', changes, iterations=200)
    assert scores['coco_panoptic/PQ'] > 60
    assert scores['coco/segm_mAP'] > 0.5


def test_ade20k_semantic(train, shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / 'ade20k_tiny'
    names = sorted(path.stem for path in (root / 'images' / 'training').glob('*.jpg'))[:NUM_IMAGES]
    (tmp_path / 'images.txt').write_text('\n'.join(names))
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    resize = dict(type='Resize', scale=SIZE, keep_ratio=False)
    data = dict(
        type='CheckedADE20KDataset',
        data_root=str(root),
        ann_file=str(tmp_path / 'images.txt'),
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        metainfo=None,
    )
    changes = {
        'train_dataloader.dataset': data
        | dict(pipeline=[*load, dict(type='RandomFlip', prob=0.5), resize, dict(type='PackSegInputs')]),
        'val_dataloader.dataset': data | dict(pipeline=[load[0], resize, load[1], dict(type='PackSegInputs')]),
        'val_dataloader.batch_size': 1,
        'model.decode_head.num_classes': 150,
    }
    scores = train('maskdino_r18_shapes_semantic', changes, iterations=200)
    # mmseg's mean is over the classes that occur in annotation or prediction.
    assert scores['mIoU'] > 60
