# Instance segmentation of the generated shapes as in the paper, with mask-enhanced boxes. The base of their ablations.
_base_ = 'maskdino_r18_shapes_panoptic.py'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    *_base_.train_pipeline[2:],
]
dataset = dict(type='CheckedCocoDataset', metainfo=dict(_delete_=True, classes=_base_.thing_classes))
train_files = dict(ann_file='annotations/instances_train.json', data_prefix=dict(_delete_=True, img='train/'))
val_files = dict(ann_file='annotations/instances_val.json', data_prefix=dict(_delete_=True, img='val/'))
train_dataloader = dict(dataset=dict(**dataset, **train_files, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**dataset, **val_files))
test_dataloader = val_dataloader
val_evaluator = dict(_base_.val_evaluator[-1], _delete_=True)  # box AP and mask AP
test_evaluator = val_evaluator

start, usual = dict(initial_boxes='tight'), dict(loss_weight=5.0)
criterion = dict(decouple_stuff=False, loss_cls=dict(prior_prob=0.01), loss_mask=usual, loss_dice=usual)
model = dict(
    panoptic_head=dict(num_stuff_classes=0, query_init=start, box_prior=None, criterion=criterion),
    test_cfg=dict(panoptic_on=False, semantic_on=False, box_margin=None),
)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=1800)]
train_cfg = dict(max_iters=1800, val_interval=900)
