# Paper, table 15: without mask-enhanced boxes, unified query selection, mask denoising and hybrid matching.
_base_ = '../maskdino_r50_coco_instance_12e.py'

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
