# The quick start: a small panoptic model, trained from scratch on generated images in minutes on two CPU cores.
_base_ = [
    '../_base_/models/maskdino_r18_small.py',
    '../_base_/datasets/shapes_panoptic.py',
    '../_base_/schedules/schedule_shapes.py',
    '../_base_/small_runtime.py',
]

light = dict(loss_weight=1.0)
model = dict(
    # Masks that know their box are better; their losses at a fifth of the usual weight leave more to boxes.
    panoptic_head=dict(
        num_things_classes=6,
        num_stuff_classes=4,
        box_prior=dict(type='BoxPrior'),
        # Such masks tell where the decoder starts, cut by the predicted boxes; what they gain: docs/ablations.md.
        query_init=dict(initial_boxes='cut'),
        # Class scores start at 0.1, so that fewer steps tell objects from the rest.
        criterion=dict(decouple_stuff=True, loss_cls=dict(prior_prob=0.1), loss_mask=light, loss_dice=light),
    ),
    test_cfg=dict(panoptic_on=True, semantic_on=True, box_margin=0.1, mask_box_weight=0.5),
)

default_hooks = dict(checkpoint=dict(interval=250, max_keep_ckpts=1))
