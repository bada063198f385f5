# Paper, tables 3 and 15: the decoder starts from the boxes that the encoder predicts, not from mask-enhanced ones.
_base_ = '../maskdino_r50_coco_instance.py'

model = dict(panoptic_head=dict(query_init=dict(initial_boxes='predicted')))
