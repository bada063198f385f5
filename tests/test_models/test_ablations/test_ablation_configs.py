"""Each config of an ablation or an option differs from its base in what its name says, and in nothing else."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmmaskdino.converters.target import build_without_memory

CONFIGS = Path(__file__).parents[3] / 'configs' / 'maskdino'
PATHS = {path.stem: path for folder in ('ablations', 'options') for path in sorted((CONFIGS / folder).glob('*.py'))}
NAMES = list(PATHS)
HEAD = 'model.panoptic_head.'
ABSENT = 'absent'
COSTS = [('FocalLossCost', 4), ('BoxL1Cost', 5), ('BoxGIoUCost', 2), ('PointBCECost', 5), ('PointDiceCost', 5)]
BOX_COSTS, MASK_COSTS = COSTS[:3], [COSTS[0], *COSTS[3:]]

# Mask-enhanced boxes of the base: those of the released models, and for the shapes those that keep the last pixel.
MASK_ENHANCED = {'r50': 'mask2box', 'swin-l': 'bitmask', 'r18': 'tight'}
PREDICTED = {'query_init.initial_boxes': (MASK_ENHANCED, 'predicted')}
MATCHED_BY_BOXES = {'criterion.assigner.match_costs': (COSTS, BOX_COSTS)}
ABLATED = {'criterion.type': ('MaskDINOCriterion', 'AblatedCriterion')}
NO_ENCODER_MASKS = ABLATED | {'criterion.encoder_masks': (ABSENT, False)}
NO_MASK_DENOISING = ABLATED | {'criterion.denoising_masks': (ABSENT, False)}
FOUR_SIZES = [0.4, 0.2, 0.1, 0.05]
# What the last part of a name says: {key of the head: (value of the base, value)}, or values by backbone.
MEANINGS = {
    'predicted-boxes': PREDICTED,
    '100-queries': {'query_init.num_queries': (300, 100)},
    **{f'{n}-layers-at-test': {'num_layers_at_test': (ABSENT, n)} for n in (0, 3, 6)},
    **{f'{n}-decoder-layers': {'decoder.num_layers': (9, n)} for n in (3, 6, 12)},
    '1-level': {
        'pixel_decoder.encoder_strides': ([8, 16, 32, 64], [32]),
        'query_init.proposal_sizes': (FOUR_SIZES, [0.05]),
    },
    '3-levels': {
        'pixel_decoder.encoder_strides': ([8, 16, 32, 64], [8, 16, 32]),
        'query_init.proposal_sizes': (FOUR_SIZES, [0.05, 0.1, 0.2]),
    },
    'learned-queries': {
        'query_init.type': ('EncoderQuerySelection', 'LearnedQueries'),
        'query_init.initial_boxes': ('predicted', ABSENT),
        'query_init.proposal_sizes': (FOUR_SIZES, ABSENT),
    },
    'box-matching': MATCHED_BY_BOXES,
    'mask-matching': {'criterion.assigner.match_costs': (COSTS, MASK_COSTS)},
    'coupled-boxes': {'criterion.decouple_stuff': (True, False)},
    'no-encoder-masks': NO_ENCODER_MASKS,
    'no-mask-denoising': NO_MASK_DENOISING,
    'no-components': PREDICTED | MATCHED_BY_BOXES | NO_ENCODER_MASKS | NO_MASK_DENOISING,
    'no-box-losses': {
        'criterion.assigner.match_costs': (COSTS, MASK_COSTS),
        'criterion.loss_bbox': ('L1Loss', None),
        'criterion.loss_iou': ('BoxGIoULoss', None),
        'find_unused_parameters': (ABSENT, True),
    },
    'contrastive-denoising': {
        'denoising.type': ('DenoisingGenerator', 'ContrastiveDenoisingGenerator'),
        'denoising.label_noise': (0.2, 0.25),
        'denoising.box_noise': (0.4, 1.0),
    },
    'box-noise-1': {'denoising.box_noise': (0.4, 1.0)},
    'box-prior': {'box_prior': (ABSENT, 'BoxPrior')},
    'points-in-boxes': {'criterion.box_point_share': (ABSENT, 0.5), 'model.test_cfg.box_margin': (ABSENT, 0.1)},
    'mask-weight-2': {'criterion.loss_mask.loss_weight': (5, 2), 'criterion.loss_dice.loss_weight': (5, 2)},
    'stable-matching': {
        'criterion.loss_cls.type': ('QueryFocalLoss', 'PositionSupervisedFocalLoss'),
        'criterion.assigner.match_costs': (COSTS, [('PositionModulatedFocalCost', 4), *COSTS[1:]]),
    },
    'hybrid-matching': {'one_to_many': (ABSENT, 'OneToManyGroup')},
    'ema': {'default_hooks.ema': (ABSENT, 'EMAHook')},
    'early-stopping': {
        'default_hooks.checkpoint.save_best': (ABSENT, 'coco/segm_mAP'),
        'default_hooks.early_stopping': (ABSENT, 'ResumableEarlyStoppingHook'),
    },
    'frozen-backbone': {'model.backbone.frozen_stages': (-1, 4)},
    'layer-decay': {
        'optim_wrapper.constructor': ('UndecayedNormConstructor', 'LayerDecayConstructor'),
        'optim_wrapper.paramwise_cfg.layer_decay_rate': (ABSENT, 0.85),
        'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult': (0.1, 1.0),
        'optim_wrapper.paramwise_cfg.custom_keys.relative_position_bias_table.lr_mult': (0.1, 1.0),
    },
    'de-imbalanced-start': {
        'query_init.type': ('EncoderQuerySelection', 'DeImbalancedQuerySelection'),
        'query_init.num_candidates': (ABSENT, {'r50': 600, 'r18': 60}),
        'query_init.ffn_dim': (ABSENT, {'r50': 2048, 'r18': 256}),
    },
    'cut-starts': {'query_init.initial_boxes': (MASK_ENHANCED, 'cut')},
    'combined': {
        'query_init.initial_boxes': ('tight', 'cut'),
        'box_prior': (ABSENT, 'BoxPrior'),
        'criterion.loss_cls.prior_prob': (0.01, 0.1),
        'criterion.loss_mask.loss_weight': (5, 2),
        'criterion.loss_dice.loss_weight': (5, 2),
        'model.test_cfg.mask_box_weight': (ABSENT, 0.5),
    },
    'mask-matching-weight-2': {
        'criterion.assigner.match_costs': (COSTS, [*COSTS[:3], ('PointBCECost', 2), ('PointDiceCost', 2)])
    },
}


def load(name):
    return Config.fromfile(PATHS.get(name, CONFIGS / f'{name}.py'))


def split(name):
    """The base and what is changed."""
    base, _, change = name.rpartition('_')
    return base, change


def difference(base, other, prefix=''):
    """{dotted key: (value, other value)} of what two nested dicts do not share."""
    found = {}
    for key in sorted(base.keys() | other.keys()):
        a, b = base.get(key, ABSENT), other.get(key, ABSENT)
        if isinstance(a, dict) and isinstance(b, dict):
            found |= difference(a, b, f'{prefix}{key}.')
        elif a != b:
            found[prefix + key] = (a, b)
    return found


def short(value):
    """Losses by their types, costs by their types and weights."""
    if isinstance(value, list) and isinstance(value[0], dict):
        costs = [cost.get('cost', cost) for cost in value]
        return [(cost['type'], cost['weight']) for cost in costs]
    return value['type'] if isinstance(value, dict) else value


@pytest.mark.parametrize('name', NAMES)
def test_difference_is_what_the_name_says(name):
    base, change = split(name)
    found = difference(load(base).to_dict(), load(name).to_dict())
    found = {key.removeprefix(HEAD): tuple(map(short, values)) for key, values in found.items()}
    print(f'\n{name}, from {base}:', *(f'  {key}: {a} -> {b}' for key, (a, b) in found.items()), sep='\n')
    backbone = name.split('_')[1]
    assert found == {
        key: tuple(value[backbone] if isinstance(value, dict) else value for value in values)
        for key, values in MEANINGS[change].items()
    }


def test_documented_matching_weights():
    """The command line of docs/ablations.md makes the config beside it, and the boxes' weights are where it says."""
    text = (CONFIGS.parents[1] / 'docs' / 'ablations.md').read_text()
    options = dict(re.findall(r'(model\.\S+match_costs\S+)=(\S+)', text))
    (name,) = (name for name in NAMES if split(name)[1] == 'mask-matching-weight-2')
    cfg = load(split(name)[0])
    cfg.merge_from_dict({key: float(value) for key, value in options.items()})
    assert len(options) == 2 and cfg.model == load(name).model
    (places,) = re.findall(r'# (\S+) and (\S+) are the boxes', text)
    start = next(iter(options)).partition('match_costs')[0] + 'match_costs'
    cfg.merge_from_dict({start + place: weight for place, weight in zip(places, (7.0, 8.0), strict=True)})
    assert short(cfg.to_dict()['model']['panoptic_head']['criterion']['assigner']['match_costs'])[1:3] == [
        ('BoxL1Cost', 7.0),
        ('BoxGIoUCost', 8.0),
    ]


def test_every_meaning_is_used():
    assert {split(name)[1] for name in NAMES} == set(MEANINGS)


@pytest.mark.parametrize('name', NAMES)
def test_model_can_be_built(name):
    cfg = load(name)
    head = build_without_memory(cfg).panoptic_head
    assert len(head.decoder.layers) == cfg.model.panoptic_head.decoder.num_layers


@pytest.mark.parametrize('name', NAMES)
def test_training_step_and_prediction(small_config, make_model, make_batch, name):
    cfg = small_config(PATHS[name].relative_to(CONFIGS).with_suffix(''))
    head = cfg.model.panoptic_head
    head.decoder.num_layers = max(2, head.get('num_layers_at_test', 0))
    model = make_model(cfg).train()
    batch = make_batch([3, 1], None, head.num_things_classes, head.num_stuff_classes)
    total, _ = model.parse_losses(model(**model.data_preprocessor(batch, training=True), mode='loss'))
    total.backward()
    without = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert total.isfinite() and all('heads.locate' in n for n in without)
    assert bool(without) == cfg.get('find_unused_parameters', False)
    with torch.no_grad():
        samples = model.eval()(**model.data_preprocessor(batch, training=False), mode='predict')
    assert all(sample.pred_instances.scores.isfinite().all() for sample in samples)
