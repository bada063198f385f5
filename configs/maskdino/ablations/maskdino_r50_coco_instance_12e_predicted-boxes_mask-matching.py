# Paper, table 13: queries are matched by class and mask.
_base_ = 'maskdino_r50_coco_instance_12e_predicted-boxes.py'

model = dict(
    panoptic_head=dict(
        criterion=dict(
            assigner=dict(
                match_costs=[
                    _base_.model.panoptic_head.criterion.assigner.match_costs[0],
                    *_base_.model.panoptic_head.criterion.assigner.match_costs[3:],
                ]
            )
        )
    )
)
