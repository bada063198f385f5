# Swin-L, 50 epochs, 300 queries, decoupled boxes of stuff.
_base_ = [
    '../_base_/models/maskdino_r50_panoptic.py',
    '../_base_/backbones/swin-l.py',
    '../_base_/datasets/coco_panoptic.py',
    '../_base_/schedules/schedule_50e_swin.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=_base_.swin_l, panoptic_head=_base_.swin_l_head)
