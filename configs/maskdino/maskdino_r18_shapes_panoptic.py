# The quick start: a small panoptic model, trained from scratch on generated images in minutes on two CPU cores.
_base_ = [
    '../_base_/models/maskdino_r18_small.py',
    '../_base_/datasets/shapes_panoptic.py',
    '../_base_/schedules/schedule_small.py',
    '../_base_/default_runtime.py',
]

model = dict(
    panoptic_head=dict(num_things_classes=6, num_stuff_classes=4, criterion=dict(decouple_stuff=True)),
    test_cfg=dict(panoptic_on=True, semantic_on=True, object_mask_thr=0.25, overlap_thr=0.8, temperature=0.06),
)

max_iters = 1800
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=100, end=max_iters, by_epoch=False, eta_min=0),
]
train_cfg = dict(max_iters=max_iters, val_interval=900)
default_hooks = dict(
    checkpoint=dict(interval=300, max_keep_ckpts=1),
    progress=dict(type='ProgressHook'),
    pictures=dict(type='PictureHook'),
)
auto_scale_lr = dict(base_batch_size=4)
randomness = dict(seed=0)
