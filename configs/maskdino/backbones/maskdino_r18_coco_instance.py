# Not in the paper.
_base_ = ['../maskdino_r50_coco_instance.py', '../../_base_/backbones/r18.py']

model = dict(backbone=_base_.r18, panoptic_head=dict(in_channels=_base_.r18_channels))
