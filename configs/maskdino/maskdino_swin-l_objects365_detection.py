# Detection pre-training for the *-o365 configs (paper, section 4): boxes only.
_base_ = [
    '../_base_/models/maskdino_r50_detection.py',
    '../_base_/backbones/swin-l.py',
    '../_base_/datasets/objects365_detection.py',
    '../_base_/schedules/schedule_50e_swin.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=_base_.swin_l, panoptic_head=dict(_base_.swin_l_head, num_things_classes=365))

# The paper does not publish this schedule: 26 epochs of 1.74 million images at batch 64, chosen here.
max_iters = 708000
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=max_iters, by_epoch=False, milestones=[599000, 681000], gamma=0.1)
]
train_cfg = dict(max_iters=max_iters, val_interval=20000)
auto_scale_lr = dict(base_batch_size=64)
