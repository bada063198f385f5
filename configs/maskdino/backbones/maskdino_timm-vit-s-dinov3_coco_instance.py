# Not in the paper: a plain vision transformer with a simple feature pyramid.
_base_ = ['../maskdino_r50_coco_instance.py', '../../_base_/backbones/timm_vit-s-dinov3.py']

model = dict(
    backbone=_base_.timm_vit_s_dinov3,
    neck=_base_.timm_vit_s_dinov3_neck,
    panoptic_head=dict(in_channels=_base_.timm_vit_s_dinov3_channels),
)
no_decay = dict(lr_mult=0.1, decay_mult=0.0)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(cls_token=no_decay, reg_token=no_decay)))
