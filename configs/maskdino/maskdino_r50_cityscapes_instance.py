# Not in the paper: the COCO model with the schedule of the semantic one.
_base_ = [
    '../_base_/models/maskdino_r50.py',
    '../_base_/datasets/cityscapes_instance.py',
    '../_base_/schedules/schedule_50e.py',
    '../_base_/default_runtime.py',
]

model = dict(panoptic_head=dict(num_things_classes=8))

max_iters = 90000
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=max_iters, by_epoch=False, milestones=[80000, 87000], gamma=0.1)
]
train_cfg = dict(max_iters=max_iters)
