# Paper, table 15: the denoising queries reconstruct classes and boxes alone.
_base_ = '../maskdino_r50_coco_instance_12e.py'

model = dict(panoptic_head=dict(criterion=dict(type='AblatedCriterion', denoising_masks=False)))
