default_scope = 'mmdet'
custom_imports = dict(imports=['mmmaskdino'])

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='ResumableCheckpointHook', by_epoch=False, interval=5000, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='DetVisualizationHook'),
    class_count=dict(type='ClassCountCheckHook'),
    class_matching=dict(type='ClassMatchingHook'),
    bounded_history=dict(type='BoundedHistoryHook'),
    non_finite=dict(type='NonFiniteHook'),
    stop_signal=dict(type='StopSignalHook'),
)
custom_hooks = []  # one's own, beside all of these

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
visualizer = dict(type='MaskDINOVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
