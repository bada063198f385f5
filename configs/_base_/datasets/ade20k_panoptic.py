# ADE20K panoptic segmentation, 100 thing and 50 stuff classes.
_base_ = 'ade20k_instance.py'

dataset_type = 'CheckedADE20KPanopticDataset'
data_root = 'data/ade/ADEChallengeData2016/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadCocoPanopticAnnotations'),
    *_base_.train_pipeline[2:],
]

train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        ann_file='ade20k_panoptic_train.json',
        data_prefix=dict(img='images/training/', seg='ade20k_panoptic_train/'),
        filter_cfg=None,
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        ann_file='ade20k_panoptic_val.json',
        data_prefix=dict(img='images/validation/', seg='ade20k_panoptic_val/'),
    )
)
test_dataloader = val_dataloader

panoptic_files = dict(ann_file=data_root + 'ade20k_panoptic_val.json', seg_prefix=data_root + 'ade20k_panoptic_val/')
val_evaluator = [
    dict(type='PanopticQualityMetric', **panoptic_files),
    dict(type='PanopticIoUMetric', **panoptic_files),
]
test_evaluator = val_evaluator
