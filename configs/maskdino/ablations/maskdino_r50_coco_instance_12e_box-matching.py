# Paper, table 15: without hybrid matching, by class and box alone.
_base_ = '../maskdino_r50_coco_instance_12e.py'

model = dict(
    panoptic_head=dict(
        criterion=dict(assigner=dict(match_costs=_base_.model.panoptic_head.criterion.assigner.match_costs[:3]))
    )
)
