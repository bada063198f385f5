# Boxes of the denoising queries moved by up to half their size and scaled up to twofold, as in DINO.
_base_ = '../maskdino_r50_coco_instance_12e.py'

model = dict(panoptic_head=dict(denoising=dict(box_noise=1.0)))
