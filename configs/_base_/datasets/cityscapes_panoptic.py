# Cityscapes panoptic segmentation, 8 thing and 11 stuff classes, as cityscapesscripts' createPanopticImgs.py writes it.
_base_ = 'cityscapes_instance.py'

dataset_type = 'CheckedCityscapesPanopticDataset'
data_root = 'data/cityscapes/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadCocoPanopticAnnotations'),
    *_base_.train_pipeline[2:],
]

train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        ann_file='gtFine/cityscapes_panoptic_train.json',
        data_prefix=dict(img='leftImg8bit/train/', seg='gtFine/cityscapes_panoptic_train/'),
        filter_cfg=None,
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        ann_file='gtFine/cityscapes_panoptic_val.json',
        data_prefix=dict(img='leftImg8bit/val/', seg='gtFine/cityscapes_panoptic_val/'),
    )
)
test_dataloader = val_dataloader

panoptic_files = dict(
    ann_file=data_root + 'gtFine/cityscapes_panoptic_val.json', seg_prefix=data_root + 'gtFine/cityscapes_panoptic_val/'
)
val_evaluator = [
    dict(type='PanopticQualityMetric', **panoptic_files),
    dict(type='PanopticIoUMetric', **panoptic_files),
]
test_evaluator = val_evaluator
