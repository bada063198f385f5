# Hybrid matching on generated shapes: beside 30 queries 60 further ones in training, six for each object (H-DETR).
_base_ = '../ablations/maskdino_r18_shapes_instance_predicted-boxes.py'

model = dict(panoptic_head=dict(one_to_many=dict(type='OneToManyGroup', num_queries=60, num_copies=6)))
