# Paper, table 11: boxes only, 50 epochs, 300 queries.
_base_ = [
    '../_base_/models/maskdino_r50_detection.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/schedule_50e.py',
    '../_base_/default_runtime.py',
]
