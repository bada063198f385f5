# ViT-S of timm with the weights of DINOv3, and the neck that makes four strides of its one map. Its patches have 16
# pixels, and its positions are rotations, so images of any size fit as they are.
timm_vit_s_dinov3 = dict(
    _delete_=True,
    type='TimmBackbone',
    model_name='vit_small_patch16_dinov3.lvd1689m',
    out_strides=(16,),
    pretrained=True,
    options=dict(drop_path_rate=0.1),
)
timm_vit_s_dinov3_neck = dict(type='SimpleFeaturePyramid', in_channels=384, out_channels=256)
timm_vit_s_dinov3_channels = [256, 256, 256, 256]
