# Paper, table 14: stuff has box losses and costs like things.
_base_ = '../maskdino_r50_coco_panoptic_12e.py'

model = dict(panoptic_head=dict(criterion=dict(decouple_stuff=False)))
