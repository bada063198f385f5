# For the small model, trained from scratch: AdamW at one rate for all parts, warm-up, cosine to 0.
max_iters = 20000

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='FusedAdamW', lr=2e-3, weight_decay=0.05, betas=(0.9, 0.99)),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={
            'denoising.label_embedding': dict(decay_mult=0.0),
            'query_init.content': dict(decay_mult=0.0),
            'query_init.box_logits': dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=100, end=max_iters, by_epoch=False, eta_min=0),
]
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters, val_interval=2000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
