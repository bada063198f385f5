# Paper, table 3: 100 queries in place of 300.
_base_ = '../maskdino_r50_coco_instance.py'

model = dict(panoptic_head=dict(query_init=dict(num_queries=100)))
