# Paper, table 15: without unified query selection for masks. The encoder's stage has no mask loss, and so there are no
# mask-enhanced boxes; its matching still counts masks.
_base_ = 'maskdino_r50_coco_instance_12e_predicted-boxes.py'

model = dict(panoptic_head=dict(criterion=dict(type='AblatedCriterion', encoder_masks=False)))
