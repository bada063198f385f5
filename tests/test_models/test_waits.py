"""How often the CPU would wait for a GPU, counted on the CPU: once per training step, once per result."""

import pytest
import torch

from mmmaskdino.apis.selftest import OperationCounter

CONFIGS = [
    'maskdino_r50_coco_instance',
    'maskdino_r50_coco_panoptic',
    'maskdino_r50_coco_detection',
    'options/maskdino_r50_coco_instance_12e_stable-matching',
    'options/maskdino_r50_coco_instance_12e_hybrid-matching',
    'options/maskdino_r50_coco_instance_12e_de-imbalanced-start',
]


def to_device(model, batch, training):
    """The batch as the data preprocessor leaves it."""
    return model.data_preprocessor(batch, training)


@pytest.mark.parametrize('name', CONFIGS)
@pytest.mark.parametrize('counts', [[3, 1], [4, 0, 2], [0, 0]])
def test_training_step(small_config, make_model, make_batch, name, counts):
    cfg = small_config(name)
    head = cfg.model.panoptic_head
    model = make_model(cfg).train()
    sizes = dict(num_things=head.num_things_classes, num_stuff=head.num_stuff_classes)
    batch = to_device(model, make_batch(counts, **sizes, with_masks=head.mask_dims is not None), True)
    before_backbone = []
    counter = OperationCounter()
    hook = model.backbone.register_forward_pre_hook(lambda *_: before_backbone.append(sum(counter.waits.values())))
    with counter:
        sum(model.loss(batch['inputs'], batch['data_samples']).values()).backward()
    hook.remove()
    # Which stuff classes there are is read before anything was asked of the device. Then: the costs of the matching.
    assert before_backbone == [int(head.num_stuff_classes > 0)]
    assert sum(counter.waits.values()) - before_backbone[0] == int(sum(counts) > 0)


@pytest.mark.parametrize('sizes', [[(64, 96)] * 2, [(64, 96), (48, 80)]])
def test_training_step_of_semantic_segmentation(small_config, make_model, make_seg_batch, sizes):
    model = make_model(small_config('maskdino_r50_ade20k_semantic')).train()
    batch = to_device(model, make_seg_batch(sizes), True)
    before_backbone = []
    counter = OperationCounter()
    model.backbone.register_forward_pre_hook(lambda *_: before_backbone.append(sum(counter.waits.values())))
    with counter:
        losses = model.loss(batch['inputs'], batch['data_samples'])
        sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert before_backbone == [1] and sum(counter.waits.values()) == 2


@pytest.mark.parametrize(
    ('name', 'waits'),
    [
        ('maskdino_r50_coco_instance', 1),
        ('maskdino_r50_coco_panoptic', 2),  # instances and segments
        ('maskdino_r50_coco_detection', 1),
        ('maskdino_r50_ade20k_semantic', 0),
    ],
)
@torch.no_grad()
def test_results(small_config, make_model, make_batch, make_seg_batch, name, waits):
    model = make_model(small_config(name)).eval()
    make = make_seg_batch if 'semantic' in name else lambda sizes: make_batch([1] * len(sizes), sizes)
    batch = to_device(model, make([(64, 96)] * 2), False)
    counter = OperationCounter()
    with counter:
        model.predict(batch['inputs'], batch['data_samples'])
    assert sum(counter.waits.values()) == 2 * waits
