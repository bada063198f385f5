# Not in the paper. Needs mmpretrain.
_base_ = ['../maskdino_r50_coco_instance.py', '../../_base_/backbones/convnext-t.py']

custom_imports = dict(imports=['mmmaskdino', 'mmpretrain.models'])
model = dict(backbone=_base_.convnext_t, panoptic_head=dict(in_channels=_base_.convnext_t_channels))
