# Detection pre-training for the *-o365 configs (paper, section 4): boxes only, no mask features, head, loss and cost.
_base_ = [
    '../_base_/models/maskdino_r50.py',
    '../_base_/backbones/swin-l.py',
    '../_base_/datasets/objects365_detection.py',
    '../_base_/schedules/schedule_50e_swin.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=_base_.swin_l,
    panoptic_head=dict(
        _base_.swin_l_head,
        num_things_classes=365,
        mask_dims=None,
        query_init=dict(_base_.swin_l_head.query_init, initial_boxes='predicted'),
        criterion=dict(
            loss_mask=None,
            loss_dice=None,
            assigner=dict(match_costs=_base_.model.panoptic_head.criterion.assigner.match_costs[:3]),
        ),
    ),
    test_cfg=dict(with_masks=False),
)

# The paper does not publish this schedule: 26 epochs of 1.74 million images at batch 64, chosen here.
max_iters = 708000
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=max_iters, by_epoch=False, milestones=[599000, 681000], gamma=0.1)
]
train_cfg = dict(max_iters=max_iters, val_interval=20000)
auto_scale_lr = dict(base_batch_size=64)
