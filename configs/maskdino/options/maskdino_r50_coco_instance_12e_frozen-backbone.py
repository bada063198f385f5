# The backbone keeps its weights: all four stages of the ResNet are frozen.
_base_ = '../maskdino_r50_coco_instance_12e.py'

model = dict(backbone=dict(frozen_stages=4))
