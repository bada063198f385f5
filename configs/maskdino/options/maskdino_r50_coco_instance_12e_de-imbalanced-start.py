# 600 candidates that see one another and refine their boxes before 300 of them become queries (DI-MaskDINO).
_base_ = '../maskdino_r50_coco_instance_12e.py'

model = dict(panoptic_head=dict(query_init=dict(type='DeImbalancedQuerySelection', num_candidates=600, ffn_dim=2048)))
