# The same for a Swin-L, whose norms and position biases learn, without weight decay.
_base_ = 'schedule_50e.py'

# The longest key that fits counts, so each has the backbone's learning rate.
no_decay = dict(lr_mult=0.1, decay_mult=0.0)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            'relative_position_bias_table': no_decay,
            'backbone.patch_embed.norm': no_decay,
            'downsample.norm': no_decay,
            **{f'backbone.norm{i}': no_decay for i in range(4)},
            **{f'backbone.stages.{i}.blocks.{j}.norm': no_decay for i in range(4) for j in range(18)},
        }
    )
)
