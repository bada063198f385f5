# As the paper's tables 11 and 15 on generated shapes: the decoder starts from the boxes that the encoder predicts.
_base_ = '../maskdino_r18_shapes_instance.py'

model = dict(panoptic_head=dict(query_init=dict(initial_boxes='predicted')))
