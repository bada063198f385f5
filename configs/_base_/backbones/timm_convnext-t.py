# ConvNeXt-T of timm, pre-trained on ImageNet-22k.
timm_convnext_t = dict(
    _delete_=True,
    type='TimmBackbone',
    model_name='convnext_tiny.fb_in22k',
    pretrained=True,
    options=dict(drop_path_rate=0.4),
)
timm_convnext_t_channels = [96, 192, 384, 768]
