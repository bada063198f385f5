# A small panoptic model on small images, for quick experiments: learns from scratch, fits any GPU and a patient CPU.
_base_ = [
    '../_base_/models/maskdino_r18_small.py',
    '../_base_/datasets/coco_panoptic_small.py',
    '../_base_/schedules/schedule_small.py',
    '../_base_/default_runtime.py',
]

model = dict(
    panoptic_head=dict(num_stuff_classes=53, query_init=dict(num_queries=100), criterion=dict(decouple_stuff=True)),
    test_cfg=dict(panoptic_on=True, semantic_on=True, object_mask_thr=0.25, overlap_thr=0.8, temperature=0.06),
)
