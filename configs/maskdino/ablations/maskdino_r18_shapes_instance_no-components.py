# As the paper's table 15 on generated shapes: none of its four components.
_base_ = '../maskdino_r18_shapes_instance.py'

model = dict(
    panoptic_head=dict(
        query_init=dict(initial_boxes='predicted'),
        criterion=dict(
            type='AblatedCriterion',
            encoder_masks=False,
            denoising_masks=False,
            assigner=dict(match_costs=_base_.model.panoptic_head.criterion.assigner.match_costs[:3]),
        ),
    )
)
