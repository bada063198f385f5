# The de-imbalanced query start on generated shapes: 60 candidates for 30 queries (DI-MaskDINO).
_base_ = '../ablations/maskdino_r18_shapes_instance_predicted-boxes.py'

model = dict(panoptic_head=dict(query_init=dict(type='DeImbalancedQuerySelection', num_candidates=60, ffn_dim=256)))
