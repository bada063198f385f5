# Not in the paper: the encoder levels of the ResNet-50.
_base_ = [
    '../../_base_/models/maskdino_r50.py',
    '../../_base_/backbones/swin-s.py',
    '../../_base_/datasets/coco_instance.py',
    '../../_base_/schedules/schedule_50e_swin.py',
    '../../_base_/default_runtime.py',
]

model = dict(backbone=_base_.swin_s, panoptic_head=dict(in_channels=_base_.swin_s_channels))
