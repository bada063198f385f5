# Paper, table 8: the predictions after 6 decoder layers, of a checkpoint of the base.
_base_ = 'maskdino_r50_coco_instance_predicted-boxes.py'

model = dict(panoptic_head=dict(num_layers_at_test=6))
