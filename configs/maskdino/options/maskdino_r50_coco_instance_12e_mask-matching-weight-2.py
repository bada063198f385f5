# Masks count less than boxes in the matching: weights of 2 in place of 5. The losses keep theirs.
_base_ = '../maskdino_r50_coco_instance_12e.py'

model = dict(
    panoptic_head=dict(
        criterion=dict(
            assigner=dict(
                match_costs=[
                    *_base_.model.panoptic_head.criterion.assigner.match_costs[:3],
                    dict(type='PointBCECost', weight=2.0),
                    dict(type='PointDiceCost', weight=2.0),
                ]
            )
        )
    )
)
