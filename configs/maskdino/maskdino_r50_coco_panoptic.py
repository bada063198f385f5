# Paper, table 4: 50 epochs, 300 queries, decoupled boxes of stuff.
_base_ = [
    '../_base_/models/maskdino_r50_panoptic.py',
    '../_base_/datasets/coco_panoptic.py',
    '../_base_/schedules/schedule_50e.py',
    '../_base_/default_runtime.py',
]
