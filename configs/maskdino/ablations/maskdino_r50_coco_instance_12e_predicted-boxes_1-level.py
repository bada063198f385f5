# Paper, table 10: the encoder has the coarsest map of the backbone alone (the paper does not name the stride).
_base_ = 'maskdino_r50_coco_instance_12e_predicted-boxes.py'

model = dict(panoptic_head=dict(pixel_decoder=dict(encoder_strides=[32]), query_init=dict(proposal_sizes=[0.05])))
