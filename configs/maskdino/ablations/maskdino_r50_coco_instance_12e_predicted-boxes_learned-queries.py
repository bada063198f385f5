# Paper, table 9: learned content and boxes in place of the query selection.
_base_ = 'maskdino_r50_coco_instance_12e_predicted-boxes.py'

model = dict(panoptic_head=dict(query_init=dict(_delete_=True, type='LearnedQueries', num_queries=300)))
