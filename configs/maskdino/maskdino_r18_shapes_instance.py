# Instance segmentation of the generated shapes as in the paper, with mask-enhanced boxes. The base of their ablations.
_base_ = [
    '../_base_/models/maskdino_r18_small.py',
    '../_base_/datasets/shapes_panoptic.py',
    '../_base_/schedules/schedule_shapes.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    *_base_.train_pipeline[2:],
]
dataset = dict(type='CheckedCocoDataset', metainfo=dict(_delete_=True, classes=_base_.thing_classes))
train_files = dict(ann_file='annotations/instances_train.json', data_prefix=dict(_delete_=True, img='train/'))
val_files = dict(ann_file='annotations/instances_val.json', data_prefix=dict(_delete_=True, img='val/'))
train_dataloader = dict(dataset=dict(**dataset, **train_files, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**dataset, **val_files))
test_dataloader = val_dataloader
val_evaluator = dict(_base_.val_evaluator[-1], _delete_=True)  # box AP and mask AP
test_evaluator = val_evaluator

model = dict(panoptic_head=dict(num_things_classes=6, query_init=dict(initial_boxes='tight')))

param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=1800)]
train_cfg = dict(max_iters=1800, val_interval=900)
default_hooks = dict(
    checkpoint=dict(interval=250, max_keep_ckpts=1),
    progress=dict(type='ProgressHook'),
    pictures=dict(type='PictureHook'),
)
