# Generated images for the quick start: python tools/dataset_converters/make_shapes.py data/shapes
dataset_type = 'CheckedCocoPanopticDataset'
data_root = 'data/shapes/'
thing_classes = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')
stuff_classes = ('grass', 'sand', 'water', 'bricks')
palette = [
    (220, 40, 40), (240, 190, 30), (50, 190, 60), (40, 200, 190), (60, 70, 230), (210, 60, 210),
    (90, 130, 60), (225, 205, 150), (110, 160, 200), (150, 90, 80),
]  # fmt: skip
metainfo = dict(
    classes=thing_classes + stuff_classes, thing_classes=thing_classes, stuff_classes=stuff_classes, palette=palette
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadCocoPanopticAnnotations'),
    dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='DrawTargets'),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/panoptic_train.json',
        data_prefix=dict(img='train/', seg='annotations/panoptic_train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/panoptic_val.json',
        data_prefix=dict(img='val/', seg='annotations/panoptic_val/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

panoptic_files = dict(
    ann_file=data_root + 'annotations/panoptic_val.json', seg_prefix=data_root + 'annotations/panoptic_val/'
)
val_evaluator = [
    dict(type='PanopticQualityMetric', **panoptic_files),
    dict(type='PanopticIoUMetric', **panoptic_files),
    dict(type='CheckedCocoMetric', ann_file=data_root + 'annotations/instances_val.json', metric=['bbox', 'segm']),
]
test_evaluator = val_evaluator
