# Released beside the mask-enhanced model.
_base_ = '../maskdino_swin-l_coco_instance.py'

model = dict(panoptic_head=dict(query_init=dict(initial_boxes='predicted')))
