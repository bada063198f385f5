# Hybrid matching: 1500 further queries in training, of which six become each object (H-DETR). None at test time.
_base_ = '../maskdino_r50_coco_instance_12e.py'

model = dict(panoptic_head=dict(one_to_many=dict(type='OneToManyGroup', num_queries=1500, num_copies=6)))
