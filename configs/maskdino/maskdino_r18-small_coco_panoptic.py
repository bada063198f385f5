# A small panoptic model on small images, for quick experiments: learns from scratch, fits any GPU and a patient CPU.
_base_ = [
    '../_base_/models/maskdino_r18_small.py',
    '../_base_/datasets/coco_panoptic.py',
    '../_base_/schedules/schedule_small.py',
    '../_base_/default_runtime.py',
]

image_size = (256, 256)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadCocoPanopticAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomResize', scale=image_size, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=image_size, recompute_bbox=True, allow_negative_crop=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1), by_mask=True, keep_empty=False),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_size, keep_ratio=True),
    *_base_.test_pipeline[2:],
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

model = dict(
    panoptic_head=dict(num_stuff_classes=53, query_init=dict(num_queries=100), criterion=dict(decouple_stuff=True)),
    test_cfg=dict(panoptic_on=True, semantic_on=True, object_mask_thr=0.25, overlap_thr=0.8, temperature=0.06),
)
