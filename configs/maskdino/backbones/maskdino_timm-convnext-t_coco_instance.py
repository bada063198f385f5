# Not in the paper.
_base_ = ['../maskdino_r50_coco_instance.py', '../../_base_/backbones/timm_convnext-t.py']

model = dict(backbone=_base_.timm_convnext_t, panoptic_head=dict(in_channels=_base_.timm_convnext_t_channels))
