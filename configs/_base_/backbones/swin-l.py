# Swin-L, pre-trained on ImageNet-22k, and what the head of a Mask DINO on it changes: five encoder levels.
swin_l = dict(
    _delete_=True,
    type='mmdet.SwinTransformer',
    pretrain_img_size=384,
    embed_dims=192,
    depths=[2, 2, 18, 2],
    num_heads=[6, 12, 24, 48],
    window_size=12,
    mlp_ratio=4,
    qkv_bias=True,
    drop_path_rate=0.3,
    patch_norm=True,
    out_indices=(0, 1, 2, 3),
    # The file has the names of Swin's authors, which mmdet converts while loading.
    convert_weights=True,
    init_cfg=dict(
        type='Pretrained',
        checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
        'swin_large_patch4_window12_384_22k.pth',
    ),
)
swin_l_head = dict(
    in_channels=[192, 384, 768, 1536],
    pixel_decoder=dict(encoder_strides=[4, 8, 16, 32, 64]),
    # As in the released weights: the coarsest level proposes the smallest boxes.
    query_init=dict(proposal_sizes=[0.8, 0.4, 0.2, 0.1, 0.05]),
)
