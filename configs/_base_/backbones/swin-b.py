# Swin-B, pre-trained on ImageNet-22k.
swin_b = dict(
    _delete_=True,
    type='mmdet.SwinTransformer',
    pretrain_img_size=384,
    embed_dims=128,
    depths=[2, 2, 18, 2],
    num_heads=[4, 8, 16, 32],
    window_size=12,
    drop_path_rate=0.3,
    out_indices=(0, 1, 2, 3),
    # The file has the names of Swin's authors, which mmdet converts while loading.
    convert_weights=True,
    init_cfg=dict(
        type='Pretrained',
        checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
        'swin_base_patch4_window12_384_22k.pth',
    ),
)
swin_b_channels = [128, 256, 512, 1024]
