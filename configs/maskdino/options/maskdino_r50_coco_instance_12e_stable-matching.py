# Stable matching: class scores, and their cost in the matching, follow how well the boxes fit (Stable-DINO).
_base_ = '../maskdino_r50_coco_instance_12e.py'

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
