# Masks know their box, and their losses leave more to boxes (docs/ablations.md): the base of what was tried beside.
_base_ = 'maskdino_r18_shapes_instance_predicted-boxes_box-prior.py'

model = dict(panoptic_head=dict(criterion=dict(loss_mask=dict(loss_weight=2.0), loss_dice=dict(loss_weight=2.0))))
