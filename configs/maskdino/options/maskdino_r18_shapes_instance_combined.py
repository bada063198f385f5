# The options that help together on generated shapes (docs/ablations.md): masks that know their box and weigh less,
# class scores that start at 0.1, a decoder that starts from the boxes of masks, cut by the predicted ones, and results
# whose boxes are averaged with those of their masks.
_base_ = '../maskdino_r18_shapes_instance.py'

model = dict(
    panoptic_head=dict(
        query_init=dict(initial_boxes='cut'),
        box_prior=dict(type='BoxPrior'),
        criterion=dict(loss_cls=dict(prior_prob=0.1), loss_mask=dict(loss_weight=2.0), loss_dice=dict(loss_weight=2.0)),
    ),
    test_cfg=dict(mask_box_weight=0.5),
)
