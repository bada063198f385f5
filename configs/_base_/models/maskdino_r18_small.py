# A Mask DINO of 3.5 million parameters that learns from scratch in minutes on a CPU.
_base_ = 'maskdino_r50.py'

model = dict(
    backbone=dict(
        depth=18,
        base_channels=32,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        init_cfg=None,
    ),
    panoptic_head=dict(
        in_channels=[32, 64, 128, 256],
        dim=96,
        mask_dims=96,
        pixel_decoder=dict(encoder_strides=[8, 16, 32], num_layers=1, ffn_dim=256),
        query_init=dict(num_queries=30, proposal_sizes=[0.1, 0.2, 0.4], initial_boxes='predicted'),
        decoder=dict(num_layers=3, ffn_dim=256),
        denoising=dict(num_queries=30),
        # Boxes learn slowest: at least twice their usual weight.
        criterion=dict(num_points=256, loss_bbox=dict(loss_weight=10.0), loss_iou=dict(loss_weight=5.0)),
    ),
)
