"""Detectors of mmdet at the size of a Mask DINO: what a comparison of the methods trains beside it."""

from __future__ import annotations

import copy
from typing import Any

import mmdet
from mmengine.config import Config, ConfigDict
from mmengine.utils import digit_version

from .models import load_config

# Embeddings of mmdet's detectors that weight decay is switched off for, as it is for Mask DINO's.
EMBEDDINGS = ('query_embed', 'query_feat', 'level_embed', 'query_embedding', 'label_embedding')
MAX_PER_IMAGE = 100


def peer_config(base: Config, peer: str) -> Config:
    """The config that trains a detector of mmdet as another config trains a Mask DINO.

    Backbone and its weights, data, batch, schedule and optimiser are those of the Mask DINO; so are widths, numbers of
    layers, levels, queries, denoising queries and points of a mask's loss, as far as the detector has them. What makes
    the detector is mmdet's: its losses and their weights, matching, sampling, results.

    Args:
        base: A config of Mask DINO.
        peer: Key of :data:`SMALLER`.

    Returns:
        The config, whole. Of panoptic data a detector that has no stuff learns the things, and is evaluated on them.

    Raises:
        ValueError: `base` is no config of Mask DINO for instances or panoptic data, or has no metric of boxes, or lacks
            what the detector needs, or the installed mmdet cannot build the detector.
    """
    head = base.model.get('panoptic_head') or {}
    if head.get('type') != 'MaskDINOHead':
        raise ValueError(f'{base.filename}: expected a Mask DINO for instances or panoptic data')
    if not head.get('mask_dims') and peer != 'DINO':
        raise ValueError(f'{base.filename} has boxes alone: {peer}, which learns masks, cannot be trained as it is')
    if not head.get('denoising') and peer == 'DINO':
        raise ValueError(f'{base.filename} has no denoising, which DINO cannot do without')
    if peer == 'DINO' and head.dim != 256 and digit_version(mmdet.__version__) <= digit_version('3.3.0'):
        raise ValueError(
            f'DINO of mmdet {mmdet.__version__} works with 256 channels alone, and {base.filename} has {head.dim}: '
            'compare with the current stack (onedl-mmdetection)'
        )
    theirs = load_config(peer)
    theirs.merge_from_dict(dict(model=SMALLER[peer](base.model)))
    cfg = copy.deepcopy(base)
    cfg.model = theirs.model
    for part in ('backbone', 'data_preprocessor'):
        cfg.model[part] = copy.deepcopy(base.model[part])
    if peer == 'DINO':
        timms = base.model.backbone.type == 'TimmBackbone'
        cfg.model.backbone.update(dict(out_strides=(8, 16, 32)) if timms else dict(out_indices=(1, 2, 3)))
    if not any('Resize' in step.type for step in cfg.test_dataloader.dataset.pipeline):
        _keep_scale(cfg)
    cfg.val_evaluator = cfg.test_evaluator = _metrics(base.val_evaluator, peer)
    if peer != 'Mask2Former':
        for hook in ('class_count', 'class_matching'):  # look for the head of Mask DINO and of Mask2Former
            cfg.default_hooks.pop(hook, None)
    groups = cfg.optim_wrapper.paramwise_cfg.custom_keys
    backbone = {name: options for name, options in groups.items() if name.startswith('backbone')}
    cfg.optim_wrapper.paramwise_cfg.custom_keys = backbone | {name: dict(decay_mult=0.0) for name in EMBEDDINGS}
    return cfg


def _keep_scale(cfg: Config) -> None:
    """Let the results of images that keep their size tell so: mmdet's detectors scale boxes back."""
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        *steps, last = loader.dataset.pipeline
        last = dict(last, meta_keys=(*last['meta_keys'], 'scale_factor'))
        loader.dataset.pipeline = [*steps, dict(type='Resize', scale_factor=1.0), last]


def _metrics(evaluators: Any, peer: str) -> list[dict]:
    """Those of what the detector predicts: of Mask2Former all but the semantic one, of the others boxes and masks."""
    evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
    if peer == 'Mask2Former':
        return [e for e in evaluators if e['type'] != 'PanopticIoUMetric']
    found = [
        dict(e, metric=['bbox'] if peer == 'DINO' else ['bbox', 'segm'])
        for e in evaluators
        if 'CocoMetric' in e['type']
    ]
    if not found:
        raise ValueError(
            f'{peer} has no panoptic results: expected a metric of boxes in val_evaluator as well, such as '
            "dict(type='CheckedCocoMetric', ann_file='.../instances_val.json', metric=['bbox', 'segm']), with the COCO "
            'file of the things of the same images'
        )
    return found


def _mask2former(base: ConfigDict) -> dict:
    head = base.panoptic_head
    dim, levels, stuff = head.dim, len(head.pixel_decoder.encoder_strides), head.num_stuff_classes
    classes = dict(num_things_classes=head.num_things_classes, num_stuff_classes=stuff)
    attention = dict(embed_dims=dim, num_heads=head.num_heads)
    places = dict(num_feats=dim // 2)
    encoder = dict(
        self_attn_cfg=dict(attention, num_levels=levels, num_points=head.num_points),
        ffn_cfg=dict(embed_dims=dim, feedforward_channels=head.pixel_decoder.ffn_dim),
    )
    decoder = dict(
        self_attn_cfg=attention,
        cross_attn_cfg=attention,
        ffn_cfg=dict(embed_dims=dim, feedforward_channels=head.decoder.ffn_dim),
    )
    points = {key: head.criterion[key] for key in ('num_points', 'oversample_ratio', 'importance_sample_ratio')}
    return dict(
        panoptic_head=dict(
            classes,
            in_channels=head.in_channels,
            feat_channels=dim,
            out_channels=head.mask_dims,
            num_queries=head.query_init.num_queries,
            num_transformer_feat_level=levels,
            pixel_decoder=dict(
                num_outs=levels,
                encoder=dict(num_layers=head.pixel_decoder.num_layers, layer_cfg=encoder),
                positional_encoding=places,
            ),
            positional_encoding=places,
            transformer_decoder=dict(num_layers=head.decoder.num_layers, layer_cfg=decoder),
            loss_cls=dict(class_weight=[1.0] * sum(classes.values()) + [0.1]),
        ),
        panoptic_fusion_head=classes,
        train_cfg=points,
        test_cfg=dict(panoptic_on=stuff > 0, instance_on=True, max_per_image=_most_results(head)),
    )


def _dino(base: ConfigDict) -> dict:
    head = base.panoptic_head
    dim, levels = head.dim, len(head.pixel_decoder.encoder_strides)
    attention = dict(embed_dims=dim, num_heads=head.num_heads)
    sampling = dict(attention, num_levels=levels, num_points=head.num_points)

    def layers(part: ConfigDict, **attentions: dict) -> dict:
        ffn = dict(embed_dims=dim, feedforward_channels=part.ffn_dim)
        return dict(num_layers=part.num_layers, layer_cfg=dict(attentions, ffn_cfg=ffn))

    return dict(
        num_queries=head.query_init.num_queries,
        num_feature_levels=levels,
        neck=dict(in_channels=head.in_channels[1:], out_channels=dim, num_outs=levels),
        encoder=layers(head.pixel_decoder, self_attn_cfg=sampling),
        decoder=layers(head.decoder, self_attn_cfg=attention, cross_attn_cfg=sampling),
        positional_encoding=dict(num_feats=dim // 2),
        bbox_head=dict(num_classes=head.num_things_classes, embed_dims=dim),
        dn_cfg=dict(group_cfg=dict(num_dn_queries=head.denoising.num_queries)),
        test_cfg=dict(max_per_img=_most_results(head)),
    )


def _most_results(head: ConfigDict) -> int:
    """As many as there are at all, of each query and class."""
    return min(MAX_PER_IMAGE, head.query_init.num_queries * head.num_things_classes)


def _mask_rcnn(base: ConfigDict) -> dict:
    head = base.panoptic_head
    dim, classes = head.dim, dict(num_classes=head.num_things_classes)
    return dict(
        neck=dict(in_channels=head.in_channels, out_channels=dim),
        # Two scales of anchors, since objects of small images are small.
        rpn_head=dict(in_channels=dim, feat_channels=dim, anchor_generator=dict(scales=[2, 8])),
        roi_head=dict(
            bbox_roi_extractor=dict(out_channels=dim),
            bbox_head=dict(classes, in_channels=dim, fc_out_channels=head.decoder.ffn_dim),
            mask_roi_extractor=dict(out_channels=dim),
            mask_head=dict(classes, in_channels=dim, conv_out_channels=dim),
        ),
        # 512 boxes an image are learned from for 100 results; as many less for as many fewer.
        train_cfg=dict(rcnn=dict(sampler=dict(num=min(512, 4 * head.query_init.num_queries)))),
        test_cfg=dict(rcnn=dict(max_per_img=MAX_PER_IMAGE)),
    )


SMALLER = {'DINO': _dino, 'Mask2Former': _mask2former, 'Mask R-CNN': _mask_rcnn}
