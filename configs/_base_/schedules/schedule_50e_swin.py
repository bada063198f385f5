# The same for a Swin Transformer, whose position biases carry no weight decay.
_base_ = 'schedule_50e.py'

optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'relative_position_bias_table': dict(lr_mult=0.1, decay_mult=0.0)})
)
