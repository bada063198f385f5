# COCO instance segmentation on small images: scale 0.5 to 2.0 of 320 x 320, cropped to it.
_base_ = 'coco_instance.py'

image_size = (320, 320)
train_pipeline = [
    *_base_.train_pipeline[:3],
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
