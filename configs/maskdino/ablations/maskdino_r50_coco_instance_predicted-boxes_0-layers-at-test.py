# Paper, table 8: the predictions of the initial queries, before the first decoder layer, of a checkpoint of the base.
_base_ = 'maskdino_r50_coco_instance_predicted-boxes.py'

model = dict(panoptic_head=dict(num_layers_at_test=0))
