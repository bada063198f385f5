# Not in the paper.
_base_ = ['../maskdino_r50_coco_instance.py', '../../_base_/backbones/r101.py']

model = dict(backbone=_base_.r101)
