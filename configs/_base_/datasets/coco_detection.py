# COCO object detection with large-scale jittering: boxes of the crop, no masks.
_base_ = 'coco_instance.py'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    *_base_.train_pipeline[2:6],
    _base_.train_pipeline[7],  # there are no masks to draw
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(with_masks=False))  # objects may have none
test_dataloader = val_dataloader
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
