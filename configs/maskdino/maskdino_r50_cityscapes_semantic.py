# Paper, table 6: 90000 iterations, 100 learned queries, batch statistics over all GPUs.
_base_ = [
    '../_base_/models/maskdino_r50_semantic.py',
    '../_base_/datasets/cityscapes_semantic.py',
    '../_base_/schedules/schedule_50e.py',
    '../_base_/semantic_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 1024)),
    backbone=dict(norm_cfg=dict(requires_grad=True), norm_eval=False),
    decode_head=dict(num_classes=19),
)
sync_bn = 'torch'  # mmengine turns BN into SyncBN where several processes train

max_iters = 90000
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=max_iters, by_epoch=False, milestones=[80000, 87000], gamma=0.1)
]
train_cfg = dict(max_iters=max_iters)
