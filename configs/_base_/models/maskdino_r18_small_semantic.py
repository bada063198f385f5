# A Mask DINO for semantic segmentation that learns from scratch in minutes on a CPU.
_base_ = 'maskdino_r50_semantic.py'

model = dict(
    backbone=dict(
        depth=18, base_channels=32, norm_cfg=dict(type='BN', requires_grad=True), norm_eval=False, init_cfg=None
    ),
    decode_head=dict(
        in_channels=[32, 64, 128, 256],
        dim=96,
        mask_dims=96,
        pixel_decoder=dict(num_layers=1, ffn_dim=256),
        query_init=dict(num_queries=30),
        decoder=dict(num_layers=3, ffn_dim=256),
        denoising=dict(num_queries=30),
        criterion=dict(num_points=256),
    ),
)
