# Paper, table 5: 160000 iterations, 100 learned queries.
_base_ = [
    '../_base_/models/maskdino_r50_semantic.py',
    '../_base_/datasets/ade20k_semantic.py',
    '../_base_/schedules/schedule_50e.py',
    '../_base_/semantic_runtime.py',
]

max_iters = 160000
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=max_iters, by_epoch=False, milestones=[135000, 150000], gamma=0.1)
]
train_cfg = dict(max_iters=max_iters)
