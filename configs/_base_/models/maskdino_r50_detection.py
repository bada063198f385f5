# Boxes only: no mask features, no mask head, no mask loss and no mask cost.
_base_ = 'maskdino_r50.py'

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
