"""The written config."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from mmengine.config import Config

from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.shapes import METAINFO
from mmmaskdino.datasets.summary import TrainingPlan, check_split, find_splits, write_config
from mmmaskdino.datasets.summary.config_text import choose_size


@pytest.fixture
def summaries(shapes: Path):
    """Of the parts of a kind."""
    return lambda kind: [check_split(split, read_images=False) for split in find_splits(shapes, kind)]


@pytest.mark.parametrize('kind', ['instance', 'panoptic', 'semantic'])
@pytest.mark.parametrize('memory', [80, 5])
def test_config_loads_and_is_short(summaries, shapes: Path, tmp_path: Path, kind: str, memory: float) -> None:
    plan = TrainingPlan(gpu_memory=memory, num_gpus=2, load_from='weights.pth')
    text = write_config(summaries(kind), plan, tmp_path / 'configs' / 'own.py')
    assert len(text.splitlines()) <= 25
    cfg = Config.fromfile(tmp_path / 'configs' / 'own.py')
    assert cfg.load_from == 'weights.pth'
    side, batch = choose_size(kind, plan)
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-4 * 2 * batch / 16, rel=0.01)
    assert cfg.optim_wrapper.optimizer.type == 'AdamW' and cfg.train_cfg.max_iters >= 5000
    (scheduler,) = cfg.param_scheduler
    assert scheduler.milestones == [round(0.9 * cfg.train_cfg.max_iters)] and scheduler.gamma == 0.1
    train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    assert cfg.test_dataloader == cfg.val_dataloader and Path(train.data_root) == shapes
    assert train.data_prefix.get('img', train.data_prefix.get('img_path')).rstrip('/') == 'train'
    assert val.data_prefix.get('img', val.data_prefix.get('img_path')).rstrip('/') == 'val'
    if kind == 'semantic':
        assert cfg.model.decode_head.num_classes == 10 and train.type == 'CheckedSegDataset'
        return
    sizes = [step[key] for step in train.pipeline for key in ('scale', 'crop_size', 'size') if key in step]
    assert sizes == [(side, side)] * 3 and side == (1024 if memory == 80 else 512)
    head = cfg.model.panoptic_head
    assert (head.num_things_classes, head.num_stuff_classes) == (6, 4 if kind == 'panoptic' else 0)
    classes = METAINFO['classes'] if kind == 'panoptic' else METAINFO['thing_classes']
    assert train.metainfo.classes == val.metainfo.classes == classes
    assert train.get('filter_cfg') is None, 'images without objects are trained on'
    evaluators = cfg.val_evaluator if kind == 'panoptic' else [cfg.val_evaluator]
    assert all(str(shapes / val.ann_file) == evaluator.ann_file for evaluator in evaluators)
    assert cfg.test_evaluator == cfg.val_evaluator


def test_boxes_alone_make_a_detection_model(summaries, tmp_path: Path) -> None:
    boxes = [dataclasses.replace(summary, has_masks=False) for summary in summaries('instance')]
    write_config(boxes, TrainingPlan(gpu_memory=5), tmp_path / 'own.py')
    cfg = Config.fromfile(tmp_path / 'own.py')
    assert cfg.model.panoptic_head.mask_dims is None and cfg.val_evaluator.metric == 'bbox'
    assert 'with_mask' not in cfg.train_dataloader.dataset.pipeline[1]
    assert cfg.train_dataloader.dataset.with_masks is cfg.val_dataloader.dataset.with_masks is False


def test_boxes_alone_need_a_base_for_boxes(summaries, project_root: Path, tmp_path: Path) -> None:
    boxes = [dataclasses.replace(summary, has_masks=False) for summary in summaries('instance')]
    configs = project_root / 'configs' / 'maskdino'
    with pytest.raises(ValueError, match='r18_shapes_instance.py trains masks.*leave --base away'):
        write_config(boxes, TrainingPlan(base=configs / 'maskdino_r18_shapes_instance.py'), tmp_path / 'own.py')
    write_config(boxes, TrainingPlan(base=configs / 'maskdino_r50_coco_detection.py'), tmp_path / 'own.py')


def test_classes_without_objects_are_left_out(summaries, tmp_path: Path) -> None:
    train, val = summaries('instance')
    train, val = (dataclasses.replace(part, classes=('everything', *part.classes)) for part in (train, val))
    for part in (train, val):
        part.objects = Counter({label + 1: count for label, count in part.objects.items()})
    write_config([train, val], TrainingPlan(), tmp_path / 'own.py')
    cfg = Config.fromfile(tmp_path / 'own.py')
    assert cfg.train_dataloader.dataset.metainfo.classes == METAINFO['thing_classes']
    assert cfg.val_dataloader.dataset.metainfo.classes == METAINFO['thing_classes']
    assert cfg.model.panoptic_head.num_things_classes == 6
    assert train.classes[0] == 'everything', 'the summary is not changed'


def test_classes_in_another_order(summaries, tmp_path: Path) -> None:
    train, val = summaries('instance')
    write_config([train, dataclasses.replace(val, classes=val.classes[::-1])], TrainingPlan(), tmp_path / 'own.py')
    cfg = Config.fromfile(tmp_path / 'own.py')
    assert cfg.val_dataloader.dataset.metainfo.classes == train.classes


def test_base_within_the_project_is_relative(summaries, project_root: Path, tmp_path: Path) -> None:
    base = project_root / 'configs' / 'maskdino' / 'maskdino_r50_coco_instance.py'
    copy = tmp_path / 'a' / base.name
    copy.parent.mkdir()
    copy.write_text(f'_base_ = {str(base)!r}\n')
    text = write_config(summaries('instance'), TrainingPlan(base=copy), tmp_path / 'a' / 'own.py')
    assert f"_base_ = '{base.name}'" in text.splitlines()
    with pytest.raises(ValueError, match='does not exist'):
        write_config(summaries('instance'), TrainingPlan(base=tmp_path / 'no.py'), tmp_path / 'own.py')


def test_data_that_cannot_be_trained_on(summaries, tmp_path: Path) -> None:
    train, val = summaries('instance')
    faulty = dataclasses.replace(train, problems=['annotation 7: no'])
    other = dataclasses.replace(val, classes=(*val.classes[:-1], 'hexagon'))
    unnamed = dataclasses.replace(val, split=val.split._replace(name='b'))
    for parts, message in (
        ([faulty, val], '1 problem.*annotation 7.*data check'),
        ([train, other], r'different classes: .*train.json lacks \["hexagon"\].*val.json lacks \["ring"\]'),
        ([unnamed, val], "none of the parts.*is called 'train'"),
    ):
        with pytest.raises(DataError, match=message):
            write_config(parts, TrainingPlan(), tmp_path / 'own.py')
    assert not (tmp_path / 'own.py').exists()


def test_memory_decides_batch_and_size() -> None:
    sizes = {memory: choose_size('instance', TrainingPlan(gpu_memory=memory)) for memory in (5, 8, 11, 24, 80, 400)}
    assert sizes == {5: (512, 1), 8: (768, 1), 11: (1024, 1), 24: (1024, 3), 80: (1024, 11), 400: (1024, 16)}
    assert choose_size('panoptic', TrainingPlan(image_side=512))[0] == 512
    assert choose_size('semantic', TrainingPlan())[0] == 512
    with pytest.raises(ValueError, match=r'about 4.4 GiB for one image of 512 x 512 pixels, got 4 \(--gpu-memory\)'):
        choose_size('instance', TrainingPlan(gpu_memory=4))
