# Stable matching on generated shapes: class scores, and their cost, follow how well the boxes fit (Stable-DINO).
_base_ = '../ablations/maskdino_r18_shapes_instance_predicted-boxes.py'

model = dict(
    panoptic_head=dict(
        criterion=dict(
            loss_cls=dict(type='PositionSupervisedFocalLoss'),
            assigner=dict(
                match_costs=[
                    dict(type='PositionModulatedFocalCost', weight=4.0),
                    *_base_.model.panoptic_head.criterion.assigner.match_costs[1:],
                ]
            ),
        )
    )
)
