# The quick start of semantic segmentation: a small model, trained from scratch on generated images on two CPU cores.
_base_ = [
    '../_base_/models/maskdino_r18_small_semantic.py',
    '../_base_/datasets/shapes_semantic.py',
    '../_base_/schedules/schedule_small.py',
    '../_base_/semantic_runtime.py',
]

model = dict(data_preprocessor=dict(size=None, size_divisor=32), decode_head=dict(num_classes=10))

max_iters = 600
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=100, end=max_iters, by_epoch=False, eta_min=0),
]
train_cfg = dict(max_iters=max_iters, val_interval=300)
default_hooks = dict(
    checkpoint=dict(interval=150, max_keep_ckpts=1),
    progress=dict(type='ProgressHook'),
    pictures=dict(type='PictureHook'),
)
auto_scale_lr = dict(base_batch_size=4)
randomness = dict(seed=0)
