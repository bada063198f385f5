# Not in the paper.
_base_ = ['../maskdino_r50_ade20k_semantic.py', '../../_base_/backbones/timm_convnext-t.py']

model = dict(backbone=_base_.timm_convnext_t, decode_head=dict(in_channels=_base_.timm_convnext_t_channels))
