# Paper, table 5: 90000 iterations, 100 learned queries, batch statistics over all GPUs.
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
# Trained here, they carry no weight decay; names longer than 'backbone', of which mmengine takes the longest that fits.
backbone_norms = ['.bn1.weight', '.bn2.weight', '.bn3.weight', '.bn1.bias', '.bn2.bias', '.bn3.bias', '.downsample.1.']
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={name: dict(lr_mult=0.1, decay_mult=0.0) for name in backbone_norms})
)

max_iters = 90000
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=max_iters, by_epoch=False, milestones=[80000, 87000], gamma=0.1)
]
train_cfg = dict(max_iters=max_iters)
