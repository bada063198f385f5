# The quick start of semantic segmentation: a small model, trained from scratch on generated images on two CPU cores.
_base_ = [
    '../_base_/models/maskdino_r18_small_semantic.py',
    '../_base_/datasets/shapes_semantic.py',
    '../_base_/schedules/schedule_shapes.py',
    '../_base_/semantic_runtime.py',
]

model = dict(data_preprocessor=dict(size=None, size_divisor=32), decode_head=dict(num_classes=10))

param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=600)]
train_cfg = dict(max_iters=600, val_interval=300)
default_hooks = dict(
    checkpoint=dict(interval=150, max_keep_ckpts=1),
    progress=dict(type='ProgressHook'),
    pictures=dict(type='PictureHook'),
)
