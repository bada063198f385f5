"""Every place that docs/migration.md names exists in the config and has the value that the page states."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mmengine.config import Config

# Where the recorded values of the official recipes have what a key stands for.
RECORDED = {
    'MODEL.BACKBONE.FREEZE_AT': 'backbone.freeze_at',
    'MODEL.BACKBONE.NAME': 'backbone.name',
    'MODEL.MaskDINO.BOX_LOSS': 'loss_weights.box_loss',
    'MODEL.MaskDINO.BOX_WEIGHT': 'loss_weights.box',
    'MODEL.MaskDINO.CLASS_WEIGHT': 'loss_weights.cls',
    'MODEL.MaskDINO.COST_BOX_WEIGHT': 'matcher_cost.box',
    'MODEL.MaskDINO.COST_CLASS_WEIGHT': 'matcher_cost.cls',
    'MODEL.MaskDINO.COST_DICE_WEIGHT': 'matcher_cost.dice',
    'MODEL.MaskDINO.COST_GIOU_WEIGHT': 'matcher_cost.giou',
    'MODEL.MaskDINO.COST_MASK_WEIGHT': 'matcher_cost.mask',
    'MODEL.MaskDINO.DEC_LAYERS': 'decoder.dec_layers',
    'MODEL.MaskDINO.DEEP_SUPERVISION': 'loss_weights.deep_supervision',
    'MODEL.MaskDINO.DICE_WEIGHT': 'loss_weights.dice',
    'MODEL.MaskDINO.DIM_FEEDFORWARD': 'decoder.dim_feedforward',
    'MODEL.MaskDINO.DN': 'dn.dn',
    'MODEL.MaskDINO.DN_NOISE_SCALE': 'dn.dn_noise_scale',
    'MODEL.MaskDINO.DN_NUM': 'dn.dn_num',
    'MODEL.MaskDINO.DROPOUT': 'decoder.dropout_actual',
    'MODEL.MaskDINO.ENFORCE_INPUT_PROJ': 'decoder.enforce_input_proj',
    'MODEL.MaskDINO.GIOU_WEIGHT': 'loss_weights.giou',
    'MODEL.MaskDINO.HIDDEN_DIM': 'decoder.hidden_dim',
    'MODEL.MaskDINO.IMPORTANCE_SAMPLE_RATIO': 'points.importance_sample_ratio',
    'MODEL.MaskDINO.INITIALIZE_BOX_TYPE': 'decoder.initialize_box_type',
    'MODEL.MaskDINO.INITIAL_PRED': 'decoder.initial_pred',
    'MODEL.MaskDINO.LEARN_TGT': 'decoder.learn_tgt',
    'MODEL.MaskDINO.MASK_WEIGHT': 'loss_weights.mask',
    'MODEL.MaskDINO.NHEADS': 'decoder.nheads_config',
    'MODEL.MaskDINO.NO_OBJECT_WEIGHT': 'loss_weights.no_object_weight',
    'MODEL.MaskDINO.NUM_OBJECT_QUERIES': 'decoder.num_queries',
    'MODEL.MaskDINO.OVERSAMPLE_RATIO': 'points.oversample_ratio',
    'MODEL.MaskDINO.PANO_BOX_LOSS': 'pano_box_loss',
    'MODEL.MaskDINO.SEMANTIC_CE_LOSS': 'semantic_ce_loss_config',
    'MODEL.MaskDINO.SIZE_DIVISIBILITY': 'test.size_divisibility',
    'MODEL.MaskDINO.TEST.INSTANCE_ON': 'test.instance_on',
    'MODEL.MaskDINO.TEST.OBJECT_MASK_THRESHOLD': 'test.object_mask_threshold',
    'MODEL.MaskDINO.TEST.OVERLAP_THRESHOLD': 'test.overlap_threshold',
    'MODEL.MaskDINO.TEST.PANOPTIC_ON': 'test.panoptic_on',
    'MODEL.MaskDINO.TEST.PANO_TEMPERATURE': 'test.pano_temperature',
    'MODEL.MaskDINO.TEST.PANO_TRANSFORM_EVAL': 'test.pano_transform_eval',
    'MODEL.MaskDINO.TEST.SEMANTIC_ON': 'test.semantic_on',
    'MODEL.MaskDINO.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE': (
        'test.sem_seg_postprocessing_before_inference_config'
    ),
    'MODEL.MaskDINO.TEST.TEST_FOUCUS_ON_BOX': 'test.test_focus_on_box',
    'MODEL.MaskDINO.TRAIN_NUM_POINTS': 'points.train_num_points',
    'MODEL.MaskDINO.TWO_STAGE': 'decoder.two_stage',
    'MODEL.PIXEL_MEAN': 'backbone.pixel_mean',
    'MODEL.PIXEL_STD': 'backbone.pixel_std',
    'MODEL.RESNETS.DEPTH': 'backbone.resnet.DEPTH',
    'MODEL.RESNETS.NORM': 'backbone.resnet.NORM',
    'MODEL.RESNETS.OUT_FEATURES': 'backbone.resnet.OUT_FEATURES',
    'MODEL.RESNETS.STRIDE_IN_1X1': 'backbone.resnet.STRIDE_IN_1X1',
    'MODEL.SEM_SEG_HEAD.COMMON_STRIDE': 'pixel_decoder.common_stride',
    'MODEL.SEM_SEG_HEAD.CONVS_DIM': 'pixel_decoder.conv_dim',
    'MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES': 'pixel_decoder.transformer_in_features_config',
    'MODEL.SEM_SEG_HEAD.DIM_FEEDFORWARD': 'pixel_decoder.dim_feedforward',
    'MODEL.SEM_SEG_HEAD.FEATURE_ORDER': 'pixel_decoder.feature_order',
    'MODEL.SEM_SEG_HEAD.IN_FEATURES': 'pixel_decoder.in_features',
    'MODEL.SEM_SEG_HEAD.MASK_DIM': 'pixel_decoder.mask_dim',
    'MODEL.SEM_SEG_HEAD.NORM': 'pixel_decoder.norm',
    'MODEL.SEM_SEG_HEAD.NUM_CLASSES': 'decoder.num_classes',
    'MODEL.SEM_SEG_HEAD.NUM_FEATURE_LEVELS': 'pixel_decoder.num_feature_levels_unused',
    'MODEL.SEM_SEG_HEAD.TOTAL_NUM_FEATURE_LEVELS': 'pixel_decoder.total_num_feature_levels',
    'MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS': 'pixel_decoder.enc_layers',
    'MODEL.SWIN.DEPTHS': 'backbone.swin.DEPTHS',
    'MODEL.SWIN.DROP_PATH_RATE': 'backbone.swin.DROP_PATH_RATE',
    'MODEL.SWIN.EMBED_DIM': 'backbone.swin.EMBED_DIM',
    'MODEL.SWIN.NUM_HEADS': 'backbone.swin.NUM_HEADS',
    'MODEL.SWIN.PRETRAIN_IMG_SIZE': 'backbone.swin.PRETRAIN_IMG_SIZE',
    'MODEL.SWIN.WINDOW_SIZE': 'backbone.swin.WINDOW_SIZE',
    'MODEL.WEIGHTS': 'backbone.weights',
    'DATALOADER.FILTER_EMPTY_ANNOTATIONS': 'input.filter_empty_annotations',
    'DATALOADER.NUM_WORKERS': 'input.num_workers',
    'DATASETS.TEST': 'input.test_sets',
    'DATASETS.TRAIN': 'input.train_sets',
    'INPUT.COLOR_AUG_SSD': 'input.color_aug_ssd',
    'INPUT.CROP.SINGLE_CATEGORY_MAX_AREA': 'input.crop.SINGLE_CATEGORY_MAX_AREA',
    'INPUT.CROP.SIZE': 'input.crop.SIZE',
    'INPUT.DATASET_MAPPER_NAME': 'input.dataset_mapper',
    'INPUT.FORMAT': 'input.format',
    'INPUT.IMAGE_SIZE': 'input.image_size',
    'INPUT.MAX_SCALE': 'input.max_scale',
    'INPUT.MAX_SIZE_TEST': 'test.max_size_test',
    'INPUT.MAX_SIZE_TRAIN': 'input.max_size_train',
    'INPUT.MIN_SCALE': 'input.min_scale',
    'INPUT.MIN_SIZE_TEST': 'test.min_size_test',
    'INPUT.MIN_SIZE_TRAIN': 'input.min_size_train',
    'INPUT.RANDOM_FLIP': 'input.random_flip',
    'INPUT.SIZE_DIVISIBILITY': 'input.size_divisibility',
    'SOLVER.AMP.ENABLED': 'solver.amp',
    'SOLVER.BACKBONE_MULTIPLIER': 'solver.backbone_multiplier',
    'SOLVER.BASE_LR': 'solver.base_lr',
    'SOLVER.CLIP_GRADIENTS.CLIP_TYPE': 'solver.clip_gradients.CLIP_TYPE',
    'SOLVER.CLIP_GRADIENTS.CLIP_VALUE': 'solver.clip_gradients.CLIP_VALUE',
    'SOLVER.CLIP_GRADIENTS.NORM_TYPE': 'solver.clip_gradients.NORM_TYPE',
    'SOLVER.GAMMA': 'solver.gamma',
    'SOLVER.IMS_PER_BATCH': 'solver.ims_per_batch',
    'SOLVER.LR_SCHEDULER_NAME': 'solver.lr_scheduler',
    'SOLVER.MAX_ITER': 'solver.max_iter',
    'SOLVER.OPTIMIZER': 'solver.optimizer',
    'SOLVER.STEPS': 'solver.steps',
    'SOLVER.WARMUP_FACTOR': 'solver.warmup_factor',
    'SOLVER.WARMUP_ITERS': 'solver.warmup_iters',
    'SOLVER.WEIGHT_DECAY': 'solver.weight_decay',
    'SOLVER.WEIGHT_DECAY_EMBED': 'solver.weight_decay_embed',
    'SOLVER.WEIGHT_DECAY_NORM': 'solver.weight_decay_norm',
    'TEST.AUG.ENABLED': 'test.tta.ENABLED',
    'TEST.DETECTIONS_PER_IMAGE': 'test.detections_per_image',
    'TEST.EVAL_PERIOD': 'solver.eval_period',
}
# Names of classes, and keys that no recorded value depends on.
NOT_RECORDED = {
    'DATALOADER.ASPECT_RATIO_GROUPING',  # as detectron2 has it
    'MODEL.META_ARCHITECTURE',
    'MODEL.MaskDINO.ENC_LAYERS',
    'MODEL.MaskDINO.PRE_NORM',
    'MODEL.MaskDINO.TRANSFORMER_DECODER_NAME',
    'MODEL.SEM_SEG_HEAD.IGNORE_VALUE',
    'MODEL.SEM_SEG_HEAD.LOSS_WEIGHT',
    'MODEL.SEM_SEG_HEAD.NAME',
    'MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME',
    'SOLVER.CHECKPOINT_PERIOD',
}
RECIPES = {
    'COCO instance segmentation, ResNet-50': 'coco_instance_r50_4s_2048',
    'COCO panoptic segmentation, ResNet-50': 'coco_panoptic_r50_2048',
    'ADE20K semantic segmentation, ResNet-50': 'ade20k_semantic_r50',
    'Cityscapes semantic segmentation, ResNet-50': 'cityscapes_semantic_r50',
    'Swin-L': 'coco_instance_swinl_maskenhanced',
}


class Row(NamedTuple):
    """One key of the page."""

    section: str
    config: str
    key: str
    official: Any
    path: str
    value: str
    remark: str


def read_rows(text: str) -> Iterator[Row]:
    """The keys of the page's sections, each of which links to the config that it is about."""
    for section, body in re.findall(r'(?ms)^## (.*?)\n(.*?)(?=^## |\Z)', text):
        config = re.search(r'\(\.\./(configs/[^)]*\.py)\)', body)[1]
        for line in re.findall(r'(?m)^\| `[A-Z].*$', body):
            key, official, path, value, remark = (cell.strip() for cell in line.strip('|').split('|'))
            yield Row(section, config, key.strip('`'), ast.literal_eval(official.strip('`')), path, value, remark)


def look_up(config: Any, path: str) -> Any:
    """The value at a path such as `param_scheduler.0.gamma`."""
    for name in path.split('.'):
        config = config[int(name) if isinstance(config, (list, tuple)) else name]
    return config


def find_faults(rows: list[Row], root: Path) -> list[str]:
    """What the page says and the configs do not."""
    configs = {name: Config.fromfile(root / name) for name in {row.config for row in rows}}
    faults = []
    for row in rows:
        place = f'{row.section}: {row.key}'
        if row.path == '-':
            faults += [f'{place}: no remark why it has no counterpart'] * (not row.remark)
            continue
        try:
            found = look_up(configs[row.config], row.path.strip('`'))
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            faults.append(f'{place}: {row.path} is not in {row.config} ({error!r})')
            continue
        stated = ast.literal_eval(row.value.strip('`'))
        if stated != found:
            faults.append(f'{place}: the page says {stated!r}, {row.config} has {found!r}')
        if row.remark.startswith('same') and _plain(row.official) != _plain(stated):
            faults.append(f'{place}: {row.official!r} and {stated!r} are not the same')
    return faults


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@pytest.fixture
def rows(project_root: Path) -> list[Row]:
    return list(read_rows((project_root / 'docs' / 'migration.md').read_text()))


def test_every_path_exists_and_has_the_value(rows: list[Row], project_root: Path) -> None:
    assert len(rows) > 100 and set(RECIPES) == {row.section for row in rows}
    assert find_faults(rows, project_root) == []


def test_official_values(rows: list[Row], shared_golden: Path) -> None:
    recorded = json.loads((shared_golden / 'keys' / 'resolved_values_all_14_yamls.json').read_text())
    for row in rows:
        if row.key not in NOT_RECORDED:
            found = look_up(recorded[RECIPES[row.section]]['resolved'], RECORDED[row.key])
            assert row.official == found, f'{row.section}: {row.key}'


def test_the_check_can_fail(rows: list[Row], project_root: Path) -> None:
    row = next(row for row in rows if row.key == 'SOLVER.GAMMA')
    wrong = [
        row._replace(path='`param_scheduler.0.factor`'),
        row._replace(path='`param_scheduler.5.gamma`'),
        row._replace(value='`0.2`'),
        row._replace(official=0.5),
        row._replace(path='-', remark=''),
    ]
    assert find_faults([row], project_root) == []
    faults = find_faults(wrong, project_root)
    for expected in ('factor', 'param_scheduler.5', 'the page says 0.2', '0.5 and 0.1', 'no remark'):
        assert any(expected in fault for fault in faults), expected
