# Masks that know their query's box, on generated shapes: boxes and masks are better than without (docs/ablations.md).
_base_ = '../ablations/maskdino_r18_shapes_instance_predicted-boxes.py'

model = dict(panoptic_head=dict(box_prior=dict(type='BoxPrior')))
