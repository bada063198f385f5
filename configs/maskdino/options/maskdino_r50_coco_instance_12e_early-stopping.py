# The checkpoint of the highest mask AP is kept, and the training ends when five evaluations have not raised it.
_base_ = '../maskdino_r50_coco_instance_12e.py'

default_hooks = dict(
    checkpoint=dict(save_best='coco/segm_mAP'),
    early_stopping=dict(type='ResumableEarlyStoppingHook', monitor='coco/segm_mAP', patience=5),
)
