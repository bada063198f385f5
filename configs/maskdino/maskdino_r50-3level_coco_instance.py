# Three encoder levels and a smaller feed-forward network ("hid 1024"): faster, and what the released weights of that
# name need.
_base_ = 'maskdino_r50_coco_instance.py'

model = dict(
    panoptic_head=dict(
        pixel_decoder=dict(encoder_strides=[8, 16, 32], ffn_dim=1024),
        query_init=dict(proposal_sizes=[0.05, 0.1, 0.2], initial_boxes='bitmask'),
    )
)
