# Paper, table 10: no encoder level of stride 64.
_base_ = 'maskdino_r50_coco_instance_12e_predicted-boxes.py'

model = dict(
    panoptic_head=dict(
        pixel_decoder=dict(encoder_strides=[8, 16, 32]), query_init=dict(proposal_sizes=[0.05, 0.1, 0.2])
    )
)
