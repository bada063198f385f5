# Detection pre-training on the generated shapes, for maskdino_r18_shapes_panoptic.py with load_from: boxes only.
_base_ = 'maskdino_r18_shapes_panoptic.py'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    *_base_.train_pipeline[2:],
]
dataset = dict(type='CheckedCocoDataset', metainfo=dict(_delete_=True, classes=_base_.thing_classes))
train_dataloader = dict(
    dataset=dict(
        dataset,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(_delete_=True, img='train/'),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(dataset, ann_file='annotations/instances_val.json', data_prefix=dict(_delete_=True, img='val/'))
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='CocoMetric',
    ann_file=_base_.data_root + 'annotations/instances_val.json',
    metric='bbox',
)
test_evaluator = val_evaluator

model = dict(
    panoptic_head=dict(
        num_stuff_classes=0,
        mask_dims=None,
        criterion=dict(
            decouple_stuff=False,
            loss_mask=None,
            loss_dice=None,
            assigner=dict(match_costs=_base_.model.panoptic_head.criterion.assigner.match_costs[:3]),
        ),
    ),
    test_cfg=dict(panoptic_on=False, semantic_on=False, with_masks=False),
)
