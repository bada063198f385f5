# ViT-S of timm with the weights of DINOv2, and the neck that makes four strides of its one map. The weights are for
# patches of 14 pixels; timm resamples them to 16, so that the map has the stride 16.
timm_vit_s_dinov2 = dict(
    _delete_=True,
    type='TimmBackbone',
    model_name='vit_small_patch14_dinov2.lvd142m',
    out_strides=(16,),
    pretrained=True,
    options=dict(patch_size=16, img_size=512, dynamic_img_size=True, drop_path_rate=0.1),
)
timm_vit_s_dinov2_neck = dict(type='SimpleFeaturePyramid', in_channels=384, out_channels=256)
timm_vit_s_dinov2_channels = [256, 256, 256, 256]
