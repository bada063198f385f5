# The things of the generated images, without stuff.
_base_ = 'shapes_panoptic.py'

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
