# The learning rate falls from the head to the first layer of the backbone, by a factor per layer, and not by a tenth.
_base_ = '../maskdino_swin-l_coco_instance.py'

optim_wrapper = dict(
    constructor='LayerDecayConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=0.85,
        custom_keys=dict(backbone=dict(lr_mult=1.0), relative_position_bias_table=dict(lr_mult=1.0)),
    ),
)
