"""Each ablation differs from its base in what its name says, and in nothing else."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmmaskdino.converters.target import build_without_memory

CONFIGS = Path(__file__).parents[3] / 'configs' / 'maskdino'
NAMES = sorted(path.stem for path in (CONFIGS / 'ablations').glob('*.py'))
HEAD = 'model.panoptic_head.'
ABSENT = 'absent'
COSTS = ['FocalLossCost', 'BBoxL1Cost', 'IoUCost', 'PointBCECost', 'PointDiceCost']
BOX_COSTS, MASK_COSTS = COSTS[:3], [COSTS[0], *COSTS[3:]]

PREDICTED = {'query_init.initial_boxes': ('mask2box', 'predicted')}
MATCHED_BY_BOXES = {'criterion.assigner.match_costs': (COSTS, BOX_COSTS)}
ABLATED = {'criterion.type': ('MaskDINOCriterion', 'AblatedCriterion')}
NO_ENCODER_MASKS = ABLATED | {'criterion.encoder_masks': (ABSENT, False)}
NO_MASK_DENOISING = ABLATED | {'criterion.denoising_masks': (ABSENT, False)}
FOUR_SIZES = [0.4, 0.2, 0.1, 0.05]
# What the last part of a name says: {key of the head: (value of the base, value)}.
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
        'criterion.loss_bbox': (dict(type='L1Loss', loss_weight=5.0), None),
        'criterion.loss_iou': (dict(type='GIoULoss', loss_weight=2.0), None),
        'find_unused_parameters': (ABSENT, True),
    },
}


def load(name):
    paths = [CONFIGS / f'{name}.py', CONFIGS / 'ablations' / f'{name}.py']
    return Config.fromfile(next(path for path in paths if path.exists()))


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
    """Costs by their types."""
    if isinstance(value, list) and isinstance(value[0], dict):
        return [cost.get('cost', cost)['type'] for cost in value]
    return value


@pytest.mark.parametrize('name', NAMES)
def test_difference_is_what_the_name_says(name):
    base, change = split(name)
    found = difference(load(base).to_dict(), load(name).to_dict())
    found = {key.removeprefix(HEAD): tuple(map(short, values)) for key, values in found.items()}
    print(f'\n{name}, from {base}:', *(f'  {key}: {a} -> {b}' for key, (a, b) in found.items()), sep='\n')
    wanted = MEANINGS[change]
    if 'swin-l' in name:  # whose released model has another kind of mask-enhanced boxes
        wanted = {key: ('bitmask', new) for key, (_, new) in wanted.items()}
    assert found == wanted


def test_every_meaning_is_used():
    assert {split(name)[1] for name in NAMES} == set(MEANINGS)


@pytest.mark.parametrize('name', NAMES)
def test_model_can_be_built(name):
    cfg = load(name)
    head = build_without_memory(cfg).panoptic_head
    assert len(head.decoder.layers) == cfg.model.panoptic_head.decoder.num_layers


@pytest.mark.parametrize('change', ['no-box-losses', 'no-components', 'mask-matching', 'learned-queries', '1-level'])
def test_training_step_and_prediction(small_config, make_model, make_batch, change):
    (name,) = (name for name in NAMES if split(name)[1] == change)
    cfg = small_config(f'ablations/{name}')
    model = make_model(cfg).train()
    batch = make_batch([3, 1], None, 80)
    total, _ = model.parse_losses(model(**model.data_preprocessor(batch, training=True), mode='loss'))
    total.backward()
    without = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert total.isfinite() and all('heads.locate' in n for n in without)
    assert bool(without) == cfg.get('find_unused_parameters', False)
    with torch.no_grad():
        samples = model.eval()(**model.data_preprocessor(batch, training=False), mode='predict')
    assert all(sample.pred_instances.scores.isfinite().all() for sample in samples)
