# Swin-S, pre-trained on ImageNet-1k.
swin_s = dict(
    _delete_=True,
    type='mmdet.SwinTransformer',
    pretrain_img_size=224,
    embed_dims=96,
    depths=[2, 2, 18, 2],
    num_heads=[3, 6, 12, 24],
    window_size=7,
    drop_path_rate=0.3,
    out_indices=(0, 1, 2, 3),
    # The file has the names of Swin's authors, which mmdet converts while loading.
    convert_weights=True,
    init_cfg=dict(
        type='Pretrained',
        checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
        'swin_small_patch4_window7_224.pth',
    ),
)
swin_s_channels = [96, 192, 384, 768]
