# Swin-L, 50 epochs, 300 queries, mask-enhanced boxes.
_base_ = [
    '../_base_/models/maskdino_r50.py',
    '../_base_/backbones/swin-l.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/schedule_50e_swin.py',
    '../_base_/default_runtime.py',
]

query_init = dict(_base_.swin_l_head.query_init, initial_boxes='bitmask')
model = dict(backbone=_base_.swin_l, panoptic_head=dict(_base_.swin_l_head, query_init=query_init))
