# Objects365 v2, boxes only, with large-scale jittering as on COCO.
_base_ = 'coco_instance.py'

dataset_type = 'Objects365V2Dataset'
data_root = 'data/objects365/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    *_base_.train_pipeline[2:4],
    dict(type='RandomCrop', crop_size=_base_.image_size, allow_negative_crop=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1), keep_empty=False),
    *_base_.train_pipeline[6:],
]

train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/zhiyuan_objv2_train.json',
        data_prefix=dict(img='train/'),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/zhiyuan_objv2_val.json',
        data_prefix=dict(img='val/'),
    )
)
test_dataloader = val_dataloader

val_evaluator = dict(ann_file=data_root + 'annotations/zhiyuan_objv2_val.json', metric='bbox')
test_evaluator = val_evaluator
