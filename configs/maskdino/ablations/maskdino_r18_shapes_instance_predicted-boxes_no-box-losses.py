# As the paper's table 11 on generated shapes: masks only. Boxes have neither loss nor cost; denoising stays.
_base_ = 'maskdino_r18_shapes_instance_predicted-boxes.py'

model = dict(
    panoptic_head=dict(
        criterion=dict(
            loss_bbox=None,
            loss_iou=None,
            assigner=dict(
                match_costs=[
                    _base_.model.panoptic_head.criterion.assigner.match_costs[0],
                    *_base_.model.panoptic_head.criterion.assigner.match_costs[3:],
                ]
            ),
        )
    )
)
find_unused_parameters = True
