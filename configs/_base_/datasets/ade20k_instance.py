# ADE20K instance segmentation, 100 classes, as mmdet's tools/dataset_converters/ade20k2coco.py writes it: short side
# 0.5 to 2.0 times 640, crops of 640 x 640.
_base_ = 'coco_instance.py'

dataset_type = 'CheckedADE20KInstanceDataset'
data_root = 'data/ade/ADEChallengeData2016/'
image_size = (640, 640)
train_pipeline = [
    *_base_.train_pipeline[:3],
    dict(
        type='RandomChoiceResize',
        scales=[(2560, int(640 * ratio / 10)) for ratio in range(5, 21)],
        resize_type='AntialiasedResize',
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=image_size, allow_negative_crop=True),
    dict(type='PhotoMetricDistortion'),
    dict(type='DrawTargets'),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='AntialiasedResize', scale=(2560, 640), keep_ratio=True),
    *_base_.test_pipeline[2:],
]

train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='ade20k_instance_train.json',
        data_prefix=dict(img='images/training/'),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='ade20k_instance_val.json',
        data_prefix=dict(img='images/validation/'),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader

val_evaluator = dict(ann_file=data_root + 'ade20k_instance_val.json')
test_evaluator = val_evaluator
