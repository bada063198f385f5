# Not in the paper: the COCO model and schedule, 300 results per image.
_base_ = [
    '../_base_/models/maskdino_r50.py',
    '../_base_/datasets/lvis_instance.py',
    '../_base_/schedules/schedule_50e.py',
    '../_base_/default_runtime.py',
]

model = dict(panoptic_head=dict(num_things_classes=1203), test_cfg=dict(max_per_image=300))
