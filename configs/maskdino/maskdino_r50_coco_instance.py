# Paper, table 3: 50 epochs, 300 queries, mask-enhanced boxes.
_base_ = [
    '../_base_/models/maskdino_r50.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/schedule_50e.py',
    '../_base_/default_runtime.py',
]
