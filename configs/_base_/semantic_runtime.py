_base_ = 'default_runtime.py'

default_scope = 'mmseg'
default_hooks = dict(visualization=dict(type='SegVisualizationHook'))
custom_hooks = [
    dict(type='mmdet.ClassCountCheckHook'),
    dict(type='ClassMatchingHook'),
    dict(type='BoundedHistoryHook'),
    dict(type='NonFiniteHook'),
    dict(type='StopSignalHook'),
]
visualizer = dict(type='SegLocalVisualizer')
