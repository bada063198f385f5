# Starts that stray pixels cannot spoil: boxes of what of a mask lies in the predicted box. Not in the paper.
_base_ = '../maskdino_r50_coco_instance_12e.py'

model = dict(panoptic_head=dict(query_init=dict(initial_boxes='cut')))
