# Masks that know their query's box: their logits fall with the distance from it. Not in the paper.
_base_ = '../maskdino_r50_coco_instance_12e.py'

model = dict(panoptic_head=dict(box_prior=dict(type='BoxPrior')))
