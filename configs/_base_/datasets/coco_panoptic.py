# COCO panoptic segmentation with large-scale jittering; classes of pixels, boxes and masks of things are evaluated
# besides.
_base_ = 'coco_instance.py'

dataset_type = 'CheckedCocoPanopticDataset'
data_root = 'data/coco/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadCocoPanopticAnnotations'),
    *_base_.train_pipeline[2:],
]

train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
        filter_cfg=None,
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        ann_file='annotations/panoptic_val2017.json',
        data_prefix=dict(img='val2017/', seg='annotations/panoptic_val2017/'),
    )
)
test_dataloader = val_dataloader

panoptic_files = dict(
    ann_file=data_root + 'annotations/panoptic_val2017.json', seg_prefix=data_root + 'annotations/panoptic_val2017/'
)
val_evaluator = [
    dict(type='PanopticQualityMetric', **panoptic_files),
    dict(type='PanopticIoUMetric', **panoptic_files),
    _base_.val_evaluator,
]
test_evaluator = val_evaluator
