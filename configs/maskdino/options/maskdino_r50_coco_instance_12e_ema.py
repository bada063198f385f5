# Averaged weights (EMA), which are evaluated, and saved as state_dict. For any config; see docs/training.md.
_base_ = '../maskdino_r50_coco_instance_12e.py'

default_hooks = dict(ema=dict(type='EMAHook', momentum=0.0003))
