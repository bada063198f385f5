# 12 epochs: 88500 iterations at batch 16, learning rate x 0.1 after 11 epochs.
_base_ = 'maskdino_r50_coco_instance.py'

max_iters = 88500
param_scheduler = [dict(type='MultiStepLR', begin=0, end=max_iters, by_epoch=False, milestones=[81125], gamma=0.1)]
train_cfg = dict(max_iters=max_iters)
