# Fine-tuning after detection pre-training on Objects365 (paper, section 4): 24 epochs, 1280 x 1280, EMA of the weights.
_base_ = 'maskdino_swin-l_coco_instance.py'

# Classes are matched by name; masks start at their initialisation.
load_from = 'work_dirs/maskdino_swin-l_objects365_detection/iter_708000.pth'

image_size = (1280, 1280)
train_pipeline = [
    *_base_.train_pipeline[:3],
    dict(_base_.train_pipeline[3], scale=image_size),
    dict(_base_.train_pipeline[4], crop_size=image_size),
    dict(_base_.train_pipeline[5], size=image_size),
    *_base_.train_pipeline[6:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# Evaluated, and saved as state_dict. The paper does not publish the decay; this is the one of DINO's code.
custom_hooks = [dict(type='EMAHook', momentum=0.0003)]

max_iters = 177000
param_scheduler = [dict(type='MultiStepLR', begin=0, end=max_iters, by_epoch=False, milestones=[147500], gamma=0.1)]
train_cfg = dict(max_iters=max_iters)
