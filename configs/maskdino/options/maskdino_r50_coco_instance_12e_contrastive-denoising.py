# Negatives beside the denoising queries, with the noise of DINO: for crowded images and single classes.
_base_ = '../maskdino_r50_coco_instance_12e.py'

model = dict(panoptic_head=dict(denoising=dict(type='ContrastiveDenoisingGenerator', label_noise=0.25, box_noise=1.0)))
