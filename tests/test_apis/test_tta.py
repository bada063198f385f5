"""Test-time augmentation from the config to the metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from mmmaskdino.apis import Predictor
from mmmaskdino.apis.tta import enable_tiles, enable_tta, tiles_pipeline, tta_pipeline
from mmmaskdino.cli.main import main
from mmmaskdino.datasets.shapes import make_shapes_dataset

LOAD, FLIP = dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.0)
RESIZE = dict(type='AntialiasedResize', scale=(1333, 800), keep_ratio=True)
PACK = dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape', 'flip'))


def test_sizes_are_scaled_and_annotations_come_after_the_flip() -> None:
    annotations = dict(type='LoadAnnotations')
    first, augment = tta_pipeline([LOAD, annotations, RESIZE, PACK], [0.5, 2], ['vertical'])
    assert first == LOAD and augment['type'] == 'TestTimeAug'
    assert augment['transforms'] == [
        [dict(RESIZE, scale=(666, 400)), dict(RESIZE, scale=(2666, 1600))],
        [FLIP, dict(type='RandomFlip', prob=1.0, direction='vertical')],
        [annotations],
        [dict(PACK, meta_keys=('img_id', 'ori_shape', 'flip', 'flip_direction'))],
    ]


def test_a_pipeline_that_does_not_resize() -> None:
    _, augment = tta_pipeline([LOAD, dict(type='PackSegInputs')], [1.5], [])
    assert augment['transforms'] == [
        [dict(type='AntialiasedResize', scale_factor=1.5, keep_ratio=True)],
        [FLIP],
        [dict(type='PackSegInputs')],
    ]


@pytest.mark.parametrize(
    ('pipeline', 'scales', 'flips', 'message'),
    [
        ([LOAD, PACK], [0], [], 'scales above 0'),
        ([LOAD, PACK], [], [], 'scales above 0'),
        ([LOAD, PACK], [1, float('nan')], [], r'finite scales above 0 .*got \[1, nan\]'),
        ([LOAD, PACK], [float('inf')], [], 'finite scales above 0'),
        ([LOAD, PACK], [1], ['sideways'], r"got \[1\], \['sideways'\]"),
        ([RESIZE, PACK], [1], [], 'must begin with LoadImageFromFile'),
        (
            [LOAD, dict(type='mmdet.Resize', scale_factor=2), PACK],
            [1],
            [],
            r'the mmdet.Resize .* needs scale=\(width, height\)',
        ),
    ],
)
def test_what_cannot_be_augmented(pipeline, scales, flips, message) -> None:
    with pytest.raises(ValueError, match=message):
        tta_pipeline(pipeline, scales, flips)


def test_the_configs_own_pipeline_and_wrapper(project_root: Path) -> None:
    cfg = Config.fromfile(project_root / 'configs' / 'maskdino' / 'maskdino_r18_shapes_panoptic.py')
    cfg.tta_pipeline = tta_pipeline([LOAD, PACK], [2.0], [])
    cfg.tta_model = dict(type='MaskDINOTTA', merge_iou=0.9)
    with pytest.raises(ValueError, match='the config has a tta_pipeline'):
        enable_tta(cfg, scales=[1.0])
    enable_tta(cfg)
    assert cfg.model.type == 'MaskDINOTTA' and cfg.model.merge_iou == 0.9 and cfg.model.module.type == 'MaskDINO'
    assert cfg.test_dataloader.dataset.pipeline == cfg.tta_pipeline


def test_annotations_are_those_of_the_whole_image() -> None:
    annotations = dict(type='LoadAnnotations')
    first, second, cut = tiles_pipeline([LOAD, RESIZE, annotations, PACK], 64, 0.2)
    assert (first, second) == (LOAD, annotations)
    assert cut == dict(type='CutTiles', tiles=64, overlap=0.2, transforms=[RESIZE, PACK], packing=PACK)
    _, second, cut = tiles_pipeline(tta_pipeline([LOAD, annotations, PACK], [1.0], ['vertical']), 64, 0.2)
    assert second == annotations and cut['packing'] == dict(
        PACK, meta_keys=('img_id', 'ori_shape', 'flip', 'flip_direction')
    )
    assert [len(slot) for slot in cut['transforms'][0]['transforms']] == [1, 2, 1]


def test_tiles_that_cannot_be_cut(project_root: Path) -> None:
    cfg = Config.fromfile(project_root / 'configs' / 'maskdino' / 'maskdino_r18_shapes_panoptic.py')
    with pytest.raises(ValueError, match='a share in'):
        enable_tiles(cfg, 64, 1.0)
    with pytest.raises(ValueError, match='must begin with LoadImageFromFile'):
        tiles_pipeline([RESIZE, PACK], 64, 0.2)
    cfg.tiles_model = dict(type='MaskDINOTiles', merge_iou=0.7)
    enable_tiles(cfg, 64, 0.5)
    assert cfg.model.merge_iou == 0.7 and cfg.model.module.type == 'MaskDINO'
    assert cfg.test_dataloader.batch_size == 1


@pytest.fixture
def run_test(model_files: Callable[[str], tuple], tmp_path: Path) -> Callable[..., dict]:
    """Evaluates an untrained model of the shapes with `mmmaskdino test`; returns the metrics."""
    data = make_shapes_dataset(tmp_path / 'shapes', 1, 3, size=64, progress=False)

    def _run_test(task: str, *arguments: str) -> dict:
        config, weights = map(str, model_files(task))
        options = [f'test_dataloader.dataset.data_root={data}/', 'test_dataloader.num_workers=0']
        options += ['test_dataloader.persistent_workers=False']
        if task == 'panoptic':
            files = dict(
                ann_file=f'{data}/annotations/panoptic_val.json', seg_prefix=f'{data}/annotations/panoptic_val/'
            )
            options += [f'test_evaluator.{i}.{key}={value}' for i in (0, 1) for key, value in files.items()]
            options += [f'test_evaluator.2.ann_file={data}/annotations/instances_val.json']
        work_dir = tmp_path / f'{task}{len(list(tmp_path.iterdir()))}'
        argv = ['test', config, weights, '--work-dir', str(work_dir), *arguments, '--cfg-options', *options]
        assert main(argv) == 0
        (metrics,) = work_dir.glob('*/2*.json')
        found = json.loads(metrics.read_text())
        return {key: value for key, value in found.items() if 'time' not in key}

    return _run_test


@pytest.mark.parametrize('task', ['panoptic', 'semantic'])
def test_evaluation(run_test: Callable[..., dict], task: str) -> None:
    """With one upright view of the usual size the metrics are those of the model; with others they are not."""
    plain = run_test(task)
    one_view = run_test(task, '--tta', '--tta-scales', '1', '--tta-flips')
    assert set(one_view) == set(plain) and len(plain) >= 2
    assert [one_view[key] for key in plain] == pytest.approx([plain[key] for key in plain], abs=1e-12, nan_ok=True)
    several = run_test(task, '--tta', '--tta-scales', '1', '1.5')
    assert set(several) == set(plain) and several != plain


@pytest.mark.parametrize('task', ['panoptic', 'semantic'])
def test_evaluation_in_tiles(run_test: Callable[..., dict], task: str) -> None:
    """One tile that is the image changes nothing; with several, and several views of each, there are metrics."""
    plain, one = run_test(task), run_test(task, '--tiles', '64')
    assert set(one) == set(plain)
    assert [one[key] for key in plain] == pytest.approx([plain[key] for key in plain], abs=1e-3, nan_ok=True)
    several = run_test(task, '--tiles', '40', '--overlap', '0.3', '--tta', '--tta-scales', '1')
    assert set(several) == set(plain) and several != plain


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--overlap', '0.3'], '--overlap needs --tiles'),
        (['--tiles', '16'], 'at least 32 pixels'),
        (['--tiles', '64', '--show-dir', 'pictures'], 'mmmaskdino predict --tiles does'),
    ],
)
def test_options_of_tiles(run_test: Callable[..., dict], options: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as stop:
        run_test('panoptic', *options)
    assert message in stop.value.code


def test_options_without_the_switch(run_test: Callable[..., dict]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_test('panoptic', '--tta-scales', '1')
    assert '--tta-scales and --tta-flips need --tta' in stop.value.code


@pytest.mark.parametrize('task', ['panoptic', 'semantic'])
def test_prediction(model_files: Callable[[str], tuple], task: str) -> None:
    image = np.random.default_rng(0).integers(255, size=(64, 96, 3), dtype=np.uint8)
    sample = Predictor(*model_files(task), device='cpu', tta=True)(image).sample
    found = sample.pred_sem_seg.sem_seg if task == 'panoptic' else sample.pred_sem_seg.data
    assert found.shape == (1, 64, 96)
