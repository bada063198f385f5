# Cityscapes instance segmentation, 8 classes, as mmdet's tools/dataset_converters/cityscapes.py writes it: short side
# 0.5 to 2.0 times 1024, crops of 512 x 1024.
_base_ = 'ade20k_instance.py'

dataset_type = 'CheckedCityscapesInstanceDataset'
data_root = 'data/cityscapes/'
image_size = (512, 1024)
train_pipeline = [
    *_base_.train_pipeline[:3],
    dict(
        type='RandomChoiceResize',
        scales=[(4096, int(1024 * ratio / 10)) for ratio in range(5, 21)],
        resize_type='AntialiasedResize',
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=image_size, allow_negative_crop=True),
    *_base_.train_pipeline[5:],
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='AntialiasedResize', scale=(2048, 1024), keep_ratio=True),
    *_base_.test_pipeline[2:],
]

train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instancesonly_filtered_gtFine_train.json',
        data_prefix=dict(img='leftImg8bit/train/'),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instancesonly_filtered_gtFine_val.json',
        data_prefix=dict(img='leftImg8bit/val/'),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader

val_evaluator = dict(ann_file=data_root + 'annotations/instancesonly_filtered_gtFine_val.json')
test_evaluator = val_evaluator
