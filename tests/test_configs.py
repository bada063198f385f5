"""The shipped configs: they build, their names are true, and they are the recorded recipes."""

import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, PARAM_SCHEDULERS, TRANSFORMS, DefaultScope
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

import mmmaskdino  # noqa: F401
from mmmaskdino.converters import convert_model
from mmmaskdino.converters.target import build_without_memory

CONFIGS = Path(__file__).parents[1] / 'configs' / 'maskdino'
NAMES = sorted(path.stem for path in CONFIGS.glob('*.py'))
SCHEDULES = [name for name in NAMES if re.search(r'_\d+e$', name)]
# Recorded recipe of each config that has one.
RECORDED = {
    'maskdino_r50_coco_instance': 'coco_instance_r50_4s_2048',
    'maskdino_r50-3level_coco_instance': 'coco_instance_r50_hid1024_3s',
    'maskdino_r50_coco_panoptic': 'coco_panoptic_r50_2048',
    'maskdino_swin-l_coco_instance': 'coco_instance_swinl_maskenhanced',
    'maskdino_swin-l_coco_panoptic': 'coco_panoptic_swinl',
    'maskdino_r50_ade20k_semantic': 'ade20k_semantic_r50',
    'maskdino_r50_cityscapes_semantic': 'cityscapes_semantic_r50',
}
# Of this one the values are recorded, but no state_dict.
RESOLVED = RECORDED | {'ablations/maskdino_swin-l_coco_instance_predicted-boxes': 'coco_instance_swinl_no_maskenhance'}
PARAMETERS = {
    'maskdino_r50_coco_instance': 52_058_004,
    'maskdino_r50-3level_coco_instance': 43_816_436,
    'maskdino_r50_coco_panoptic': 52_085_193,
    'maskdino_swin-l_coco_instance': 222_799_144,
    'maskdino_swin-l_coco_panoptic': 222_826_333,
    'maskdino_r50_ade20k_semantic': 43_812_299,
    'maskdino_r50_cityscapes_semantic': 43_798_216,
}

recorded_configs = pytest.mark.parametrize(('name', 'recipe'), RESOLVED.items())
recorded_mmdet_configs = pytest.mark.parametrize(
    ('name', 'recipe'), [item for item in RESOLVED.items() if not item[0].endswith('semantic')]
)
recorded_mmseg_configs = pytest.mark.parametrize(
    ('name', 'recipe'), [item for item in RESOLVED.items() if item[0].endswith('semantic')]
)


def load(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def build(cfg):
    """The model without memory for its weights."""
    return build_without_memory(cfg)


def head_name_of(cfg):
    return 'decode_head' if cfg.default_scope == 'mmseg' else 'panoptic_head'


def head_of(cfg):
    return cfg.model[head_name_of(cfg)]


def dataset_of(loader):
    """The dataset inside wrappers."""
    dataset = loader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset


def find(registry, name, cfg):
    """What a run of the config gets for the name."""
    return registry.get(name if '.' in name else f'{cfg.default_scope}.{name}')


@pytest.fixture
def recipe_of(shared_golden):
    """A recorded recipe by name."""

    def read(name):
        if name in RECORDED.values():
            return json.loads((shared_golden / 'keys' / f'{name}.json').read_text())
        return json.loads((shared_golden / 'keys' / 'resolved_values_all_14_yamls.json').read_text())[name]

    return read


@pytest.mark.parametrize('name', NAMES)
def test_every_part_is_known(name):
    cfg = load(name)
    assert cfg.default_scope == ('mmseg' if name.endswith('semantic') else 'mmdet')
    assert cfg.custom_imports == dict(imports=['mmmaskdino'])
    model = build(cfg)
    if cfg.default_scope == 'mmdet':
        assert model.panoptic_fusion_head.num_classes == model.panoptic_head.num_classes
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert find(DATASETS, loader.dataset.type, cfg) is not None
        pipeline = dataset_of(loader).pipeline
        assert all(find(TRANSFORMS, step.type, cfg) is not None for step in pipeline)
        packing = dict(mmdet='PackDetInputs', mmseg='PackSegInputs')[cfg.default_scope]
        assert pipeline[-1].type == packing
    for evaluators in (cfg.val_evaluator, cfg.test_evaluator):
        for metric in evaluators if isinstance(evaluators, list) else [evaluators]:
            assert find(METRICS, metric.type, cfg) is not None
    assert all(find(HOOKS, hook.type, cfg) is not None for hook in (*cfg.custom_hooks, *cfg.default_hooks.values()))


@pytest.mark.parametrize('name', NAMES)
def test_classes_of_model_and_data(name):
    cfg = load(name)
    head, dataset = head_of(cfg), dataset_of(cfg.train_dataloader)
    metainfo = dataset.get('metainfo') or find(DATASETS, dataset.type, cfg).METAINFO
    if cfg.default_scope == 'mmseg':
        assert head.num_classes == len(metainfo['classes'])
        return
    num_things = len(metainfo.get('thing_classes', metainfo['classes']))
    panoptic = 'Panoptic' in dataset.type
    assert head.num_things_classes == num_things
    assert head.num_stuff_classes == (len(metainfo['classes']) - num_things if panoptic else 0)


@pytest.mark.parametrize('name', NAMES)
def test_name_is_true(name):
    cfg = load(name)
    backbone, dataset, task = re.fullmatch(r'maskdino_([^_]+)_([^_]+)_([^_]+)(?:_\d+e)?', name).groups()
    head, test_cfg = head_of(cfg), cfg.model.test_cfg
    if backbone.startswith('swin-l'):
        assert cfg.model.backbone.type == 'mmdet.SwinTransformer' and cfg.model.backbone.embed_dims == 192
    elif backbone == 'efficientnet-lite0':
        assert cfg.model.backbone.model_name == 'tf_efficientnet_lite0'
    else:
        assert cfg.model.backbone.depth == int(re.match(r'r(\d+)', backbone)[1])
    if not backbone.startswith(('r18', 'efficientnet')):  # the small models, of no published recipe, are free
        levels = re.search(r'(\d+)level', backbone)
        usual = 5 if backbone.startswith('swin-l') else 3 if task == 'semantic' else 4
        assert len(head.pixel_decoder.encoder_strides) == (int(levels[1]) if levels else usual)
    assert dataset.removesuffix('20k') in dataset_of(cfg.train_dataloader).data_root
    assert (cfg.default_scope == 'mmseg') == (task == 'semantic')
    if task == 'semantic':
        return
    assert (head.num_stuff_classes > 0) == bool(test_cfg.panoptic_on) == (task == 'panoptic')
    assert (head.mask_dims is None) == (task == 'detection')


@pytest.mark.parametrize('name', SCHEDULES)
def test_siblings_differ_in_the_schedule_only(name):
    """117,266 training images at batch 16 make the epochs; the paper's 50 are 368,750 iterations."""
    cfg, base = load(name), load(re.sub(r'_\d+e$', '', name))
    epochs = int(re.search(r'_(\d+)e$', name)[1])
    per_epoch = base.train_cfg.max_iters / 50
    assert cfg.train_cfg.max_iters == epochs * per_epoch
    (scheduler,) = cfg.param_scheduler
    assert scheduler.milestones == [{12: 11, 24: 20}[epochs] * per_epoch] and scheduler.end == cfg.train_cfg.max_iters
    for key in ('model', 'train_dataloader', 'val_dataloader', 'optim_wrapper', 'val_evaluator', 'auto_scale_lr'):
        assert cfg[key] == base[key]


def test_detection_is_the_instance_model_without_masks():
    detection, instance = (build(load(f'maskdino_r50_coco_{task}')) for task in ('detection', 'instance'))
    mine, theirs = (dict(model.named_parameters()) for model in (detection, instance))
    of_masks = re.compile(r'mask_features|embed_mask|pixel_decoder\.(lateral|output)\.')
    assert set(mine) == {name for name in theirs if not of_masks.search(name)}
    assigner = load('maskdino_r50_coco_detection').model.panoptic_head.criterion.assigner
    costs = [cost.get('cost', cost)['type'] for cost in assigner.match_costs]
    assert costs == ['FocalLossCost', 'BoxL1Cost', 'BoxGIoUCost']


@pytest.mark.parametrize('task', ['instance', 'panoptic'])
def test_fine_tuning_after_detection_pretraining(task):
    """24 epochs of 1280 x 1280 with averaged weights, from the file that the pre-training config leaves."""
    name = f'maskdino_swin-l-o365_coco_{task}'
    cfg, base, pretraining = load(name), load(name.replace('-o365', '')), load('maskdino_swin-l_objects365_detection')
    folder = f'work_dirs/{Path(pretraining.filename).stem}'
    assert cfg.load_from == f'{folder}/iter_{pretraining.train_cfg.max_iters}.pth'
    assert cfg.model == base.model
    assert cfg.train_cfg.max_iters == load('maskdino_r50_coco_instance_24e').train_cfg.max_iters
    sizes = [
        step.get(key)
        for step in cfg.train_dataloader.dataset.pipeline
        for key in ('scale', 'crop_size', 'size')
        if key in step
    ]
    assert sizes == [(1280, 1280)] * 3
    assert [step.type for step in cfg.train_dataloader.dataset.pipeline] == [
        step.type for step in base.train_dataloader.dataset.pipeline
    ]
    assert [hook.type for hook in cfg.custom_hooks] == ['EMAHook']
    # Everything but the masks is there already.
    there, here = (dict(build(c).named_parameters()) for c in (pretraining, cfg))
    of_masks = re.compile(r'mask_features|embed_mask|pixel_decoder\.(lateral|output)\.')
    assert set(there) == {name for name in here if not of_masks.search(name)}


@pytest.mark.parametrize(('name', 'count'), PARAMETERS.items())
def test_number_of_parameters(name, count):
    model = build(load(name))
    batch_norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    # The reference holds its frozen batch norms as buffers.
    frozen = sum(p.numel() for norm in batch_norms for p in norm.parameters() if not p.requires_grad)
    assert (frozen == 0) == ('cityscapes' in name or 'swin' in name)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == sum(p.numel() for p in model.parameters()) - frozen == count


def test_small_model_of_photographs():
    """Its size, and a rate of the pretrained backbone below that of the head."""
    cfg = load('maskdino_efficientnet-lite0_coco_instance')
    model = build(cfg)
    counts = [sum(p.numel() for p in part.parameters()) for part in (model, model.backbone)]
    assert counts == [3_698_777, 2_958_848]
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    rates = {id(p): group['lr'] for group in optimizer.param_groups for p in group['params']}
    assert {round(rates[id(p)], 9) for p in model.backbone.parameters()} == {2e-4}
    assert {rates[id(p)] for p in model.panoptic_head.parameters()} == {2e-3}
    panoptic = build(load('maskdino_efficientnet-lite0_coco_panoptic'))
    assert None not in (panoptic.panoptic_head.heads.box_prior, model.panoptic_head.heads.box_prior)


def names_here(recipe, head):
    """{official name of a parameter: name in this package}, as the converter has it."""
    with torch.device('meta'):
        tensors = {name: torch.empty(recipe['state_dict'][name]) for name in recipe['optimizer_param_lr_wd']}
    return convert_model(tensors, f'{head}.').used


@pytest.mark.parametrize(('name', 'recipe'), RECORDED.items())
def test_optimiser_groups(name, recipe, recipe_of):
    """Learning rate and weight decay, parameter by parameter."""
    cfg, recipe = load(name), recipe_of(recipe)
    model = build(cfg)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    names = {id(p): n for n, p in model.named_parameters()}
    got = {}
    for group in optimizer.param_groups:
        got |= {names[id(p)]: (group['lr'], group['weight_decay']) for p in group['params'] if p.requires_grad}
    official = names_here(recipe, head_name_of(cfg))
    wanted = {official[key]: pytest.approx(values) for key, values in recipe['optimizer_param_lr_wd'].items()}
    assert len(wanted) == len(recipe['optimizer_param_lr_wd'])
    assert got == wanted
    defaults = recipe['optimizer_defaults']
    assert optimizer.defaults['betas'] == pytest.approx(defaults['betas'])
    assert optimizer.defaults['eps'] == defaults['eps'] and not optimizer.defaults['amsgrad']


@recorded_configs
def test_solver(name, recipe, recipe_of):
    cfg, recipe = load(name), recipe_of(recipe)['resolved']
    solver = recipe['solver']
    assert cfg.optim_wrapper.optimizer.type == 'AdamW' and solver['optimizer'] == 'ADAMW'
    assert cfg.train_cfg.max_iters == solver['max_iter'] and cfg.train_cfg.val_interval == solver['eval_period']
    assert cfg.auto_scale_lr.base_batch_size == solver['ims_per_batch']
    clip = solver['clip_gradients']
    assert clip['ENABLED'] and clip['CLIP_TYPE'] == 'full_model'
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=clip['CLIP_VALUE'], norm_type=clip['NORM_TYPE'])
    (scheduler,) = cfg.param_scheduler
    assert (scheduler.milestones, scheduler.gamma, scheduler.by_epoch) == (solver['steps'], solver['gamma'], False)


@recorded_configs
def test_learning_rate_over_time(name, recipe, recipe_of):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedulers = [PARAM_SCHEDULERS.build(dict(s, optimizer=optimizer)) for s in load(name).param_scheduler]
    wanted = {int(i): value for i, value in recipe_of(recipe)['resolved']['lr_multiplier_at_iter'].items()}
    got = {}
    optimizer.step()  # schedulers warn where they come first
    for iteration in range(max(wanted) + 1):
        if iteration in wanted:
            got[iteration] = optimizer.param_groups[0]['lr']
        for scheduler in schedulers:
            scheduler.step()
    assert got == pytest.approx(wanted)


@recorded_configs
def test_model_is_the_recorded_one(name, recipe, recipe_of):
    cfg, recipe = load(name), recipe_of(recipe)['resolved']
    head, pixel, decoder = head_of(cfg), recipe['pixel_decoder'], recipe['decoder']
    assert head.dim == pixel['conv_dim'] == decoder['hidden_dim'] and head.mask_dims == pixel['mask_dim']
    assert head.num_heads == pixel['nheads'] == decoder['nheads_actual']
    assert head.num_points == pixel['n_points'] == decoder['dec_n_points']
    assert len(head.pixel_decoder.encoder_strides) == pixel['total_num_feature_levels']
    assert head.pixel_decoder.num_layers == pixel['enc_layers']
    assert head.pixel_decoder.ffn_dim == pixel['dim_feedforward']
    assert head.decoder.num_layers == decoder['dec_layers'] and head.decoder.ffn_dim == decoder['dim_feedforward']
    assert head.query_init.num_queries == decoder['num_queries']
    assert build(cfg).get_submodule(head_name_of(cfg)).num_classes == decoder['num_classes']
    dn = recipe['dn']
    assert head.denoising.num_queries == dn['dn_num'] and head.denoising.box_noise == dn['dn_noise_scale']
    assert head.denoising.label_noise == dn['dn_noise_scale'] / 2
    preprocessor = cfg.model.data_preprocessor
    assert preprocessor.mean == recipe['backbone']['pixel_mean'] and preprocessor.std == recipe['backbone']['pixel_std']
    assert preprocessor.bgr_to_rgb


@recorded_configs
def test_query_start_is_the_recorded_one(name, recipe, recipe_of):
    cfg, recipe = load(name), recipe_of(recipe)['resolved']
    start, pixel, decoder = head_of(cfg).query_init, recipe['pixel_decoder'], recipe['decoder']
    assert start.type == ('EncoderQuerySelection' if decoder['two_stage'] else 'LearnedQueries')
    assert decoder['two_stage'] or not decoder['learn_tgt']
    if not decoder['two_stage']:
        return
    boxes = {'no': 'predicted'}.get(decoder['initialize_box_type'], decoder['initialize_box_type'])
    assert start.initial_boxes == boxes
    sizes = [0.05 * 2**i for i in range(pixel['total_num_feature_levels'])]
    finest_last = pixel['feature_order'] == 'low2high'
    assert start.proposal_sizes == pytest.approx(sizes[::-1] if finest_last else sizes)


@recorded_configs
def test_losses_and_costs_are_the_recorded_ones(name, recipe, recipe_of):
    criterion, recipe = head_of(load(name)).criterion, recipe_of(recipe)['resolved']
    weights = {term: criterion[f'loss_{term}'].loss_weight for term in ('cls', 'bbox', 'iou', 'mask', 'dice')}
    wanted = recipe['loss_weights']
    assert weights == {term: wanted[{'bbox': 'box', 'iou': 'giou'}.get(term, term)] for term in weights}
    costs = [cost.get('cost', cost) for cost in criterion.assigner.match_costs]
    if recipe['semantic_ce_loss_config']:
        assert criterion.loss_cls.type == 'QueryCrossEntropyLoss'
        assert criterion.loss_cls.no_object_weight == wanted['no_object_weight']
    wanted = recipe['matcher_cost']
    # Chosen differently: the reference matches softmax models by their focal cost.
    matching = 'ClassificationCost' if recipe['semantic_ce_loss_config'] else 'FocalLossCost'
    assert {cost.type: cost.weight for cost in costs} == {
        matching: wanted['cls'],
        'BoxL1Cost': wanted['box'],
        'BoxGIoUCost': wanted['giou'],
        'PointBCECost': wanted['mask'],
        'PointDiceCost': wanted['dice'],
    }
    points = recipe['points']
    assert criterion.num_points == points['train_num_points']
    assert criterion.oversample_ratio == points['oversample_ratio']
    assert criterion.importance_sample_ratio == points['importance_sample_ratio']


@recorded_mmseg_configs
def test_images_of_mmseg_are_as_recorded(name, recipe, recipe_of):
    cfg, recipe = load(name), recipe_of(recipe)['resolved']
    resize, crop, colour, flip = (next(iter(step.values())) for step in recipe['train_transforms_built'])
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    choices, longest = steps['RandomChoiceResize'], resize['max_size']
    assert choices.scales == [(longest, short) for short in resize['short_edge_length']]
    assert resize['sample_style'] == 'choice' and choices.resize_type == 'AntialiasedResize'
    assert choices.keep_ratio and choices.labels == 'corner'
    assert steps['RandomCrop'].crop_size == tuple(crop['crop_size']) == cfg.model.data_preprocessor.size
    assert steps['RandomCrop'].get('cat_max_ratio', 1) == crop['single_category_max_area'] == 1
    assert steps['Pad'].size == tuple(crop['crop_size'][::-1]) and steps['Pad'].pad_val == dict(img=128, seg=255)
    assert steps['RandomFlip'].prob == flip['prob']
    assert steps['RandomFlip'].get('direction', 'horizontal') == 'horizontal' and not flip['vertical']
    distortion = find(TRANSFORMS, 'PhotoMetricDistortion', cfg)(**steps['PhotoMetricDistortion'].get('args', {}))
    assert distortion.brightness_delta == colour['brightness_delta'] and distortion.hue_delta == colour['hue_delta']
    assert (distortion.contrast_lower, distortion.contrast_upper) == (colour['contrast_low'], colour['contrast_high'])
    bounds = (colour['saturation_low'], colour['saturation_high'])
    assert (distortion.saturation_lower, distortion.saturation_upper) == bounds
    test_steps = {step.type: step for step in cfg.test_dataloader.dataset.pipeline}
    short, longest = recipe['test']['min_size_test'], recipe['test']['max_size_test']
    resize = test_steps['AntialiasedResize']
    assert resize.scale == (longest, short) and resize.keep_ratio
    assert list(test_steps).index('AntialiasedResize') < list(test_steps).index('LoadAnnotations')
    assert cfg.model.test_cfg == dict(mode='whole') and recipe['test']['size_divisibility'] == 32


@recorded_configs
def test_backbone_is_the_recorded_one(name, recipe, recipe_of):
    cfg, recorded = load(name), recipe_of(recipe)['resolved']['backbone']
    backbone = cfg.model.backbone
    if recorded['swin'] is not None:
        wanted = {key.lower(): value for key, value in recorded['swin'].items()}
        names = ('pretrain_img_size', 'depths', 'num_heads', 'window_size', 'mlp_ratio', 'qkv_bias', 'drop_path_rate')
        assert {name: backbone[name] for name in names} == {name: wanted[name] for name in names}
        assert backbone.embed_dims == wanted['embed_dim'] and backbone.out_indices == (0, 1, 2, 3)
        return
    norm = recorded['resnet']['NORM']
    assert backbone.norm_cfg.type == 'LeanBatchNorm' and backbone.frozen_stages == -1
    assert (backbone.norm_cfg.requires_grad, backbone.norm_eval) == dict(FrozenBN=(False, True), SyncBN=(True, False))[
        norm
    ]
    assert cfg.get('sync_bn') == ('torch' if norm == 'SyncBN' else None)


@recorded_mmdet_configs
def test_images_are_as_recorded(name, recipe, recipe_of):
    cfg, recipe = load(name), recipe_of(recipe)['resolved']
    flip, resize, crop = (next(iter(step.values())) for step in recipe['train_transforms_built'])
    size = (resize['target_width'], resize['target_height'])
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert steps['RandomFlip'].prob == flip['prob']
    assert steps['RandomFlip'].get('direction', 'horizontal') == 'horizontal' and not flip['vertical']
    jitter = steps['LargeScaleJitter']
    assert jitter.scale == size and jitter.keep_ratio and jitter.resize_type == 'AntialiasedResize'
    assert jitter.ratio_range == (resize['min_scale'], resize['max_scale'])
    assert steps['RandomCrop'].crop_size == tuple(crop['crop_size']) and steps['RandomCrop'].allow_negative_crop
    assert steps['Pad'].size == size and steps['Pad'].pad_val['seg'] == crop['seg_pad_value']
    assert set(steps['Pad'].pad_val['img']) == {crop['pad_value']}
    assert list(steps)[2:] == ['RandomFlip', 'LargeScaleJitter', 'RandomCrop', 'Pad', 'DrawTargets', 'PackDetInputs']
    test_steps = {step.type: step for step in cfg.test_dataloader.dataset.pipeline}
    short, longest = recipe['test']['min_size_test'], recipe['test']['max_size_test']
    resize = test_steps['AntialiasedResize']
    assert sorted(resize.scale) == [short, longest] and resize.keep_ratio
    assert cfg.model.data_preprocessor.pad_size_divisor == recipe['test']['size_divisibility']


@recorded_mmdet_configs
def test_results_are_as_recorded(name, recipe, recipe_of):
    test_cfg, test = load(name).model.test_cfg, recipe_of(recipe)['resolved']['test']
    for task in ('instance_on', 'panoptic_on', 'semantic_on'):
        assert test_cfg.get(task, False) == test[task]
    assert test_cfg.max_per_image == test['detections_per_image']
    if test_cfg.panoptic_on:
        assert test_cfg.object_mask_thr == test['object_mask_threshold']
        assert (test_cfg.overlap_thr, test_cfg.temperature) == (test['overlap_threshold'], test['pano_temperature'])


@pytest.mark.parametrize(
    ('size', 'limit'), [((480, 640), 103.2e9), pytest.param((800, 1333), 346.5e9, marks=pytest.mark.slow)]
)
def test_cost_of_a_prediction(size, limit):
    """Multiplications of the instance model, counted without doing them; the counter counts an addition with each."""
    cfg = load('maskdino_r50_coco_instance')
    divisor = cfg.model.data_preprocessor.pad_size_divisor
    padded = [-(-side // divisor) * divisor for side in size]
    with FakeTensorMode(), torch.no_grad():
        with DefaultScope.overwrite_default_scope('mmdet'):
            model = MODELS.build(cfg.model).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 3, *padded), mode='tensor')
    assert 0.9 * limit < counter.get_total_flops() / 2 <= limit


@pytest.mark.parametrize('key', ['model.no_such_key', 'model.panoptic_head.query_init.no_such_key'])
def test_unknown_key_is_rejected(key):
    cfg = load('maskdino_r50_coco_panoptic')
    cfg.merge_from_dict({key: 1})
    with pytest.raises(TypeError, match='no_such_key'):
        build(cfg)
