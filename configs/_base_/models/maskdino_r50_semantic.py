# Semantic segmentation on mmseg, ADE20K as it stands: learned queries, three encoder levels, softmax with a no-object
# class. The parts without a scope are mmdet's, see MaskDINODecodeHead.
_base_ = 'maskdino_r50.py'

model = dict(
    _delete_=True,
    type='MaskDINOSegmentor',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(512, 512),
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(_base_.model.backbone, type='mmdet.ResNet'),
    decode_head=dict(
        type='MaskDINODecodeHead',
        num_classes=150,
        in_channels=_base_.model.panoptic_head.in_channels,
        dim=256,
        mask_dims=256,
        num_heads=8,
        num_points=4,
        pixel_decoder=dict(type='MaskDINOPixelDecoder', encoder_strides=[8, 16, 32], num_layers=6, ffn_dim=1024),
        query_init=dict(type='LearnedQueries', num_queries=100),
        decoder=_base_.model.panoptic_head.decoder,
        denoising=_base_.model.panoptic_head.denoising,
        criterion=dict(
            _base_.model.panoptic_head.criterion,
            assigner=dict(
                type='HybridHungarianAssigner',
                match_costs=[
                    # The released weights were trained with FocalLossCost here.
                    dict(type='ClassificationCost', weight=4.0),
                    *_base_.model.panoptic_head.criterion.assigner.match_costs[1:],
                ],
            ),
            loss_cls=dict(type='QueryCrossEntropyLoss', loss_weight=4.0, no_object_weight=0.1),
        ),
    ),
    test_cfg=dict(mode='whole'),
)
