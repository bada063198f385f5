# For the small model on generated shapes: as schedule_small.py, over in minutes.
_base_ = 'schedule_small.py'

max_iters = 1000
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=500)
auto_scale_lr = dict(base_batch_size=4)
randomness = dict(seed=0)
