# Paper, table 12.
_base_ = 'maskdino_r50_coco_instance_12e_predicted-boxes.py'

model = dict(panoptic_head=dict(decoder=dict(num_layers=3)))
