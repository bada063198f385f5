# Detection of the generated shapes, boxes only: no mask features, no mask head, no mask loss and no mask cost. Also the
# pre-training for maskdino_r18_shapes_panoptic.py, with load_from.
_base_ = 'maskdino_r18_shapes_instance.py'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    *_base_.train_pipeline[2::2],  # there are no masks to draw
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator

model = dict(
    panoptic_head=dict(
        mask_dims=None,
        query_init=dict(initial_boxes='predicted'),
        criterion=dict(
            loss_mask=None,
            loss_dice=None,
            assigner=dict(match_costs=_base_.model.panoptic_head.criterion.assigner.match_costs[:3]),
        ),
    ),
    test_cfg=dict(with_masks=False),
)
