"""Adapter between the recorded numbers of the reference and this package (see ``check.py`` beside the records)."""

import sys
from pathlib import Path

import torch
from mmengine.config import ConfigDict

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mmdet.registry import MODELS  # noqa: E402
from postprocess import postprocess  # noqa: E402, F401

import mmmaskdino  # noqa: E402, F401
from mmmaskdino.converters import convert_head  # noqa: E402
from mmmaskdino.models.layers import decode_masks  # noqa: E402
from mmmaskdino.structures import Targets  # noqa: E402

STRIDES = {'res2': 4, 'res3': 8, 'res4': 16, 'res5': 32}
BOXES = {'no': 'predicted', 'mask2box': 'mask2box', 'bitmask': 'bitmask'}


def build(hyper, weights):
    """The head with the reference's hyper-parameters and weights."""
    head = MODELS.build(ConfigDict(head_config(hyper)))
    tensors = {key: torch.from_numpy(value) for key, value in weights.items()}
    head.load_state_dict(convert_head(tensors).tensors, strict=True)
    return head.eval()


def head_config(hyper):
    """Config of the head from the reference's hyper-parameters."""
    first = STRIDES[hyper['transformer_in_features'][0]]
    strides = [first * 2**i for i in range(hyper['total_num_feature_levels'])]
    # The released proposal sizes double along the decoder's order of levels, which is the reverse of the encoder's.
    sizes = [0.05 * 2**i for i in range(len(strides))]
    if hyper['feature_order'] == 'low2high':
        sizes = sizes[::-1]
    if hyper['two_stage']:
        query_init = dict(
            type='EncoderQuerySelection', proposal_sizes=sizes, initial_boxes=BOXES[hyper['initialize_box_type']]
        )
    else:
        query_init = dict(type='LearnedQueries')
    softmax = hyper['semantic_ce_loss']
    loss_cls = dict(type='QueryFocalLoss', loss_weight=4.0)
    if softmax:
        loss_cls = dict(type='QueryCrossEntropyLoss', loss_weight=4.0, no_object_weight=hyper['no_object_weight'])
    return dict(
        type='MaskDINOHead',
        num_things_classes=hyper['num_classes'],
        num_stuff_classes=0,
        in_channels=list(hyper['backbone_channels'].values()),
        dim=hyper['hidden_dim'],
        mask_dims=hyper['mask_dim'],
        num_heads=hyper['dec_heads'],
        num_points=hyper['n_points'],
        pixel_decoder=dict(
            type='MaskDINOPixelDecoder',
            encoder_strides=strides,
            num_layers=hyper['enc_layers'],
            ffn_dim=hyper['enc_ffn'],
        ),
        query_init=dict(query_init, num_queries=hyper['num_queries']),
        decoder=dict(type='MaskDINOTransformerDecoder', num_layers=hyper['dec_layers'], ffn_dim=hyper['dec_ffn']),
        denoising=dict(
            type='DenoisingGenerator',
            num_queries=hyper['dn_num'],
            label_noise=hyper['dn_noise_scale'] / 2,
            box_noise=hyper['dn_noise_scale'],
        ),
        criterion=dict(
            type='MaskDINOCriterion',
            num_points=hyper['num_points'],
            assigner=dict(type='HybridHungarianAssigner', match_costs=match_costs()),
            loss_cls=loss_cls,
            loss_bbox=dict(type='mmdet.L1Loss', loss_weight=5.0),
            loss_iou=dict(type='BoxGIoULoss', loss_weight=2.0),
            loss_mask=dict(type='PointBCELoss', loss_weight=5.0),
            loss_dice=dict(type='PointDiceLoss', loss_weight=5.0),
        ),
    )


def match_costs():
    """The reference's costs."""
    boxes = [
        dict(type='BoxL1Cost', weight=5.0),
        dict(type='BoxGIoUCost', weight=2.0),
    ]
    boxes = [dict(type='ThingOnlyCost', cost=cost) for cost in boxes]
    masks = [dict(type='PointBCECost', weight=5.0), dict(type='PointDiceCost', weight=5.0)]
    return [dict(type='mmdet.FocalLossCost', weight=4.0), *boxes, *masks]


def predict(model, features):
    """All stages without denoising."""
    features = list(features.values())
    mask_features, memory, start = model._start(features, None)
    layers = model.decoder(start.content, start.boxes, memory, model.heads)
    stages = [model.heads.initial_stage(start.content, start.boxes)]
    stages += [model.heads(*layer) for layer in layers]
    last, _ = model(features)
    assert torch.equal(last.cls_logits, stages[-1].cls_logits)
    levels = memory.tokens.split([h * w for h, w in memory.spatial_shapes], 1)
    maps = [x.transpose(1, 2).unflatten(2, s) for x, s in zip(levels, memory.spatial_shapes, strict=True)]
    encoder = None if start.encoder_stage is None else _stage(start.encoder_stage, mask_features)
    return dict(
        mask_features=mask_features, memory=maps, encoder=encoder, stages=[_stage(s, mask_features) for s in stages]
    )


def _stage(stage, mask_features):
    masks = decode_masks(stage.mask_embeds, mask_features)
    return dict(cls_logits=stage.cls_logits, boxes=stage.boxes, mask_logits=masks)


class RecordedPoints:
    """Point sampler that returns the recorded points for the matching and, instead of important ones, for the loss."""

    def __init__(self, sampler, points):
        self.sampler, self.points, self.num_points = sampler, points, points.shape[1]

    def sample(self, mask_features, targets):
        self.sampler.draw = lambda bs, device: self.points.expand(bs, -1, -1)
        return self.sampler.sample(mask_features, targets)

    def select(self, logits, first=None):
        return torch.arange(logits.shape[1]).expand(len(logits), -1)


def record_denoising(denoising, random):
    """Let the generator draw the recorded noise."""

    def noise_labels(labels):
        flipped = random['dn_label_p'] < denoising.label_noise
        return labels.masked_scatter(flipped, random['dn_new_label'])

    denoising.noise_labels = noise_labels
    denoising.noise_boxes = lambda boxes: denoising.shift_boxes(boxes, random['dn_box_rand'])


def loss(model, features, targets, random, options):
    """One training step with recorded randomness."""
    model.train()
    model.criterion.decouple_stuff = options['decouple_stuff']
    assigner = model.criterion.assigner
    model.criterion.point_sampler = RecordedPoints(model.criterion.point_sampler, random['points'])
    denoising = model.denoising
    if options['denoising']:
        record_denoising(denoising, random)
    else:
        model.denoising = None
    solved = []
    solve = assigner._solve

    def keep(*args):
        solved.append(solve(*args))
        return solved[-1]

    assigner._solve = keep
    targets = [Targets(t['labels'], t['boxes'], t['masks'], t['is_thing']) for t in targets]
    output = model.forward_train(list(features.values()), targets)
    named = model.criterion(output, targets)
    total = sum(named.values())
    grads = torch.autograd.grad(total, list(features.values()))
    num_layers = len(output.matching.boxes) - 1
    return dict(
        losses={_loss_name(name, num_layers): float(value.detach()) for name, value in named.items()},
        total=float(total.detach()),
        feature_grads=dict(zip(features, grads, strict=True)),
        assignment=_assignment(solved[0], output, len(targets)),
    )


def _loss_name(name, num_layers):
    stage = str(num_layers)
    if name.startswith('enc_'):
        stage, name = 'encoder', name.removeprefix('enc_')
    elif '.' in name:
        stage, name = name.split('.')
        stage = stage.removeprefix('d')
    group = 'dn' if name.startswith('dn_') else 'match'
    term = name.removeprefix('dn_').removeprefix('loss_')
    return f'{group}.{stage}.{dict(iou="giou").get(term, term)}'


def _assignment(pairs, output, bs):
    names = (['encoder'] if output.encoder is not None else []) + [str(i) for i in range(len(output.matching.boxes))]
    assignment = {name: [[] for _ in range(bs)] for name in names}
    for stage, image, query, gt in zip(*(f.tolist() for f in pairs[:4]), strict=True):
        assignment[names[stage]][image].append((query, gt))
    return assignment
