# AdamW at batch 16 for 50 epochs of COCO (368750 iterations), learning rate x 0.1 twice.
max_iters = 368750

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='UndecayedNormConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=0.01, norm_type=2),
    paramwise_cfg=dict(
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            'denoising.label_embedding': dict(decay_mult=0.0),
            'query_init.content': dict(decay_mult=0.0),
            'query_init.box_logits': dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=max_iters, by_epoch=False, milestones=[327778, 355092], gamma=0.1)
]
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
