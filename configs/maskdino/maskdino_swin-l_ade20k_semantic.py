# Swin-L, 900 learned queries, five encoder levels, 160000 iterations, averaged weights (EMA). The paper does not
# publish the size of its images; these are the ones of the ResNet.
_base_ = [
    '../_base_/models/maskdino_r50_semantic.py',
    '../_base_/backbones/swin-l.py',
    '../_base_/datasets/ade20k_semantic.py',
    '../_base_/schedules/schedule_50e_swin.py',
    '../_base_/semantic_runtime.py',
]

model = dict(
    backbone=_base_.swin_l,
    decode_head=dict(
        in_channels=_base_.swin_l_head.in_channels,
        pixel_decoder=dict(encoder_strides=[4, 8, 16, 32, 64], ffn_dim=2048),
        query_init=dict(num_queries=900),
    ),
)

# Evaluated, and saved as state_dict. The paper does not publish the decay; this is the one of DINO's code.
custom_hooks = [dict(type='EMAHook', momentum=0.0003)]

max_iters = 160000
param_scheduler = [dict(_base_.param_scheduler[0], end=max_iters, milestones=[135000, 150000])]
train_cfg = dict(max_iters=max_iters)
