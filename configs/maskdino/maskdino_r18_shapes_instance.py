# Instance segmentation of the generated shapes as in the paper, with mask-enhanced boxes. The base of their ablations.
_base_ = [
    '../_base_/models/maskdino_r18_small.py',
    '../_base_/datasets/shapes_instance.py',
    '../_base_/schedules/schedule_shapes.py',
    '../_base_/small_runtime.py',
]

model = dict(panoptic_head=dict(num_things_classes=6, query_init=dict(initial_boxes='tight')))

param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=1800)]
train_cfg = dict(max_iters=1800, val_interval=900)
default_hooks = dict(checkpoint=dict(interval=250, max_keep_ckpts=1))
