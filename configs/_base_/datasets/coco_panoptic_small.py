# COCO panoptic segmentation on small images: scale 0.5 to 2.0 of 256 x 256, cropped to it.
_base_ = 'coco_panoptic.py'

image_size = (256, 256)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadCocoPanopticAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(_base_.train_pipeline[3], scale=image_size, ratio_range=(0.5, 2.0)),
    dict(_base_.train_pipeline[4], crop_size=image_size),
    dict(type='DrawTargets'),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='AntialiasedResize', scale=image_size, keep_ratio=True),
    *_base_.test_pipeline[2:],
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
