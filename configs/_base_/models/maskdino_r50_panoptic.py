# What a panoptic model of COCO changes: 53 stuff classes, and boxes predicted by the encoder. Stuff carries no box loss
# and no box cost (paper, section 3.4); the released weights were trained with decouple_stuff=False.
_base_ = 'maskdino_r50.py'

model = dict(
    panoptic_head=dict(
        num_stuff_classes=53,
        query_init=dict(initial_boxes='predicted'),
        criterion=dict(decouple_stuff=True),
    ),
    test_cfg=dict(panoptic_on=True, semantic_on=True, object_mask_thr=0.25, overlap_thr=0.8, temperature=0.06),
)
