# The best model of generated shapes (docs/ablations.md): masks know their box, and their losses leave more to boxes.
_base_ = 'maskdino_r18_shapes_instance_predicted-boxes_box-prior.py'

model = dict(panoptic_head=dict(criterion=dict(loss_mask=dict(loss_weight=2.0), loss_dice=dict(loss_weight=2.0))))
