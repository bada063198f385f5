# The small model of photographs for panoptic segmentation; see maskdino_efficientnet-lite0_coco_instance.py.
_base_ = [
    '../_base_/models/maskdino_efficientnet-lite0.py',
    '../_base_/datasets/coco_panoptic_small.py',
    '../_base_/schedules/schedule_small.py',
    '../_base_/small_runtime.py',
]

criterion = dict(
    decouple_stuff=True,
    loss_cls=dict(prior_prob=0.1),
    loss_mask=dict(loss_weight=2.0),
    loss_dice=dict(loss_weight=2.0),
)
model = dict(
    panoptic_head=dict(
        num_stuff_classes=53,
        query_init=dict(num_queries=100, initial_boxes='cut'),
        box_prior=dict(type='BoxPrior'),
        criterion=criterion,
    ),
    test_cfg=dict(panoptic_on=True, semantic_on=True, box_margin=0.1, mask_box_weight=0.5),
)

optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))))
